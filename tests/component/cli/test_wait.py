"""`wait`: ends with the code that it is told, for one thing at a time."""

import pytest

from stackd.core.model.api import WaitRequest
from tests.component.cli.manager import Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
async def test_wait_ends_with_the_code_it_is_told(
    manager: Manager, shell: Shell, stack_file: str, code: int
) -> None:
    manager.wait = (-1, code)
    assert await shell("wait", "shop", "--timeout", "90s") == code
    assert (shell.out, shell.err) == (f"at {code}\n", "shop: at -1\n")
    asked = manager.asked[-1]
    assert isinstance(asked, WaitRequest)
    assert asked.timeout == 90
    assert await shell("apply", "-f", stack_file, "--wait") == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop", "--release", "1", "--commit", "abc"), "exclude each other"),
        (("shop/web", "--release", "1", "--revision", "abc"), "exclude each other"),
        (("shop", "--revision", "abc"), "a revision is of a service"),
    ],
)
async def test_wait_for_one_thing(
    manager: Manager, shell: Shell, words: tuple[str, ...], said: str
) -> None:
    assert await shell("wait", *words) == 1
    assert said in shell.err
    assert not manager.asked
