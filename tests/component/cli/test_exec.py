"""`exec`: the command's code, and 125 for its own errors."""

import pytest

from tests.component.cli.manager import Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


@pytest.mark.parametrize("code", [0, 7, 126, 127])
async def test_exec_gives_the_commands_code(manager: Manager, shell: Shell, code: int) -> None:
    manager.exec_code = code
    assert await shell("exec", "--no-tty", "shop/web.1", "--", "cmd", "-x") == code
    assert (shell.out, shell.err) == ("out\n", "err\n")


async def test_exec_has_125_for_its_own_errors(shell: Shell) -> None:
    assert await shell("exec", "--no-tty", "nosuch", "--", "cmd") == 125
    assert "There is no task nosuch" in shell.err
    assert await shell("exec", "shop/web.1") == 1
