"""`status`: its documents and its reasons."""

import json

import msgspec
import pytest

from stackd.core.model.api import ServiceStatus
from tests.component.cli.manager import SERVICE, STACK, Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


async def test_the_documents_of_status_have_exactly_their_keys(shell: Shell) -> None:
    await shell("status", "shop", "-o", "json")
    keys = {"stack", "release", "commit", "seen_commit", "owner", "phase", "services"}
    stack = json.loads(shell.out)
    assert stack.keys() == keys
    await shell("status", "shop/web", "-o", "json")
    service = json.loads(shell.out)
    assert service.keys() == set(ServiceStatus.__struct_fields__)
    assert stack["services"] == [service]
    assert service["reason"] == f"{SERVICE.reason}; {STACK.frozen[0]}; {STACK.problem}"


async def test_status_says_why_a_newer_commit_does_not_run(shell: Shell, manager: Manager) -> None:
    """A pipe gets the whole sentence."""
    manager.stack = msgspec.structs.replace(STACK, problem="a.yml:1:2: " + "very bad " * 40 + "END")
    assert await shell("status", "shop") == 0
    assert "very bad END\n" in shell.out
    assert not any(line.endswith(" ") for line in shell.out.splitlines())
