"""`apply`: what it asks for, what it prints, and its code."""

import json
from pathlib import Path

import pytest

from stackd.core.model.api import ApplyRequest
from tests.component.cli.manager import Manager
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


async def test_the_document_of_apply(shell: Shell, stack_file: str) -> None:
    assert await shell("apply", "-f", stack_file, "-o", "json") == 0
    assert json.loads(shell.out) == {
        "stack": "shop",
        "release": 3,
        "changed": True,
        "plan_hash": "h",
    }
    assert "a note" in shell.err


async def test_apply_asks_for_what_was_named(
    manager: Manager, shell: Shell, stack_file: str
) -> None:
    flags = ("--plan", "abc", "--pull", "--override", "--name", "other")
    assert await shell("apply", "-f", stack_file, *flags) == 0
    asked = manager.asked[0]
    assert isinstance(asked, ApplyRequest)
    assert (asked.plan_hash, asked.pull, asked.override) == ("abc", True, True)
    assert asked.spec.name == "other"
    assert "stackd wait other --release 3" in shell.out


async def test_a_service_that_failed_is_told_with_code_1(
    manager: Manager, shell: Shell, stack_file: str
) -> None:
    manager.failed = ("shop/web: the registry does not answer",)
    assert await shell("apply", "-f", stack_file) == 1
    assert "shop/web: the registry does not answer" in shell.err


async def test_a_bad_file_is_refused_with_its_place(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("services:\n  web: {image: a, nosuch: 1}\n")
    for words, code in ((("apply",), 1), (("plan",), 1), (("diff",), 2)):
        assert await shell(*words, "-f", str(path)) == code
        assert f"{path}:2:" in shell.err
    assert await shell("apply", "-f", str(tmp_path / "absent.yml")) == 1
    assert "cannot be read" in shell.err
    assert await shell("validate", "/no/such") == 1
    assert shell.out.startswith("/no/such: cannot be read: No such file or directory.\n")
