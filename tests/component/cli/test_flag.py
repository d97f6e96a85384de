"""`flag`: toggles set and listed."""

import pytest

from stackd.core.model.api import FlagRequest
from tests.component.cli.manager import ESCAPED, Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


@pytest.mark.parametrize(
    ("share", "sent"),
    [("25%", 2_500), ("0.5%", 50), ("on", 10_000), ("off", 0), ("declared", None)],
)
async def test_a_toggle_is_set(
    manager: Manager, shell: Shell, share: str, sent: int | None
) -> None:
    assert await shell("flag", "set", f"shop/web/cart={share}") == 0
    assert manager.asked == [FlagRequest(name="shop/web/cart", share=sent)]


@pytest.mark.parametrize("setting", ["cart=on", "shop/web/cart", "shop/web/cart=101%", "a/b/c=1"])
async def test_what_is_no_toggle_is_refused(manager: Manager, shell: Shell, setting: str) -> None:
    assert await shell("flag", "set", setting) == 1
    assert manager.asked == []


async def test_toggles_are_listed(shell: Shell) -> None:
    assert await shell("flag", "ls", "shop") == 0
    assert "shop/web/cart  25%" in shell.out
    assert "plan is pro: 100%" in shell.out
    assert ESCAPED in shell.out
