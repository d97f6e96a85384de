"""A check's command is written by whoever may write a stack file, not by root."""

import os
import tempfile
from pathlib import Path

import pytest

from stackd.core.model.analysis import Check, CheckKind, CheckOutcome
from stackd.manager.checks import Subject, ask

pytestmark = pytest.mark.host

SUBJECT = Subject("shop", "web", "step 2", "new", "old")


async def test_a_command_is_nobody_and_reaches_nothing_of_the_cluster(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    os.chmod(secret, 0o600)
    script = (
        'test "$(id -u)" = 65534 && grep -q "^CapEff:[[:space:]]*0*$" /proc/self/status '
        f"&& ! cat /etc/shadow && ! cat {secret} && touch ./mine && ! touch /usr/x"
    )
    check = Check(name="c", kind=CheckKind.COMMAND, command=("/bin/sh", "-c", script))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        found = await ask(check, SUBJECT, 5.0, Path(folder))
    assert found.outcome is CheckOutcome.PASS, found.text
