"""`promote` and the other verbs that steer a rollout: which one is meant."""

import pytest

from stackd.core.model.api import RolloutRequest
from tests.component.cli.manager import Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd

WANTED = RolloutRequest(name="shop/web", revision="b")


async def test_another_rollout_than_the_one_meant_is_an_error(
    manager: Manager, shell: Shell
) -> None:
    assert await shell("promote", "shop/web", "--revision", "b") == 1
    assert shell.err.splitlines() == [
        "stackd: shop/web has no rollout to it any more.",
        "        Look again, then decide.",
    ]
    assert manager.asked == [WANTED]


async def test_who_waits_is_told_that_it_was_superseded(manager: Manager, shell: Shell) -> None:
    assert await shell("promote", "shop/web", "--revision", "b", "--wait") == 5
    assert "no rollout to it any more" in shell.err
    assert manager.asked == [WANTED]


async def test_without_a_revision_it_is_whichever_runs(manager: Manager, shell: Shell) -> None:
    assert await shell("promote", "shop/web") == 0
    assert await shell("retry", "shop/web", "--wait") == 0
    assert manager.asked[0] == RolloutRequest(name="shop/web")


async def test_what_lifts_a_hold_is_about_no_rollout(shell: Shell) -> None:
    assert await shell("retry", "shop/web", "--revision", "b") == 1
    assert "No such option: --revision" in shell.err
