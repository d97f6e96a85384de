"""`scale`: a number of tasks."""

import pytest

from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


@pytest.mark.parametrize("setting", ["shop/web", "shop/web=", "shop/web=-1", "shop/web=²"])
async def test_what_is_no_number_of_tasks_is_refused(shell: Shell, setting: str) -> None:
    assert await shell("scale", setting) == 1
    assert "is not STACK/SERVICE=N" in shell.err
