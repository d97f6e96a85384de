"""What is planned says so."""

import pytest

from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


async def test_remote_clusters_are_not_supported_yet(shell: Shell) -> None:
    assert await shell("--context", "prod", "ps") == 1
    assert "not supported yet" in shell.err


@pytest.mark.parametrize("words", [("approve", "ops", "x"), ("image", "push", "a"), ("ca", "show")])
async def test_planned_verbs_say_so(shell: Shell, words: tuple[str, ...]) -> None:
    assert await shell(*words) == 1
    assert "is not supported yet" in shell.err
