"""What commands print, and how: documents, progress, errors, hostile text."""

import json
import re

import pytest

from tests.component.cli.manager import ESCAPED
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("ps",), list),
        (("ls",), list),
        (("repo", "ls"), list),
        (("node", "ls"), list),
        (("history", "shop"), list),
        (("flag", "ls"), list),
        (("flag", "set", "shop/web/cart=on"), dict),
        (("status",), list),
        (("status", "shop"), dict),
        (("status", "shop/web"), dict),
        (("token", "show", "worker"), dict),
        (("version",), dict),
        (("wait", "shop"), dict),
    ],
)
async def test_json_is_one_document(shell: Shell, words: tuple[str, ...], kind: type) -> None:
    assert await shell(*words, "-o", "json") == 0
    assert isinstance(json.loads(shell.out), kind)
    assert "\x1b" not in shell.out


async def test_what_lasts_is_told_on_standard_error(shell: Shell, stack_file: str) -> None:
    assert await shell("image", "load", "-i", stack_file, "-o", "json") == 0
    assert json.loads(shell.out) == []
    assert re.fullmatch(r"Loading shop\.stack\.yml \(0\.0 MB\) … 1 s\n", shell.err)


async def test_the_document_of_node_ls(shell: Shell) -> None:
    await shell("node", "ls", "-o", "json")
    assert list(json.loads(shell.out)[0]) == [
        *("id", "name", "role", "availability", "state", "address", "tasks")
    ]


async def test_events_are_one_document_a_line(shell: Shell) -> None:
    assert await shell("events", "-o", "json") == 0
    assert [list(json.loads(line)) for line in shell.out.splitlines()] == [
        ["id", "at", "kind", "object", "principal", "cause", "text"]
    ] * 2


@pytest.mark.parametrize("words", [("ps",), ("events",), ("status", "shop")])
async def test_control_characters_are_escaped(shell: Shell, words: tuple[str, ...]) -> None:
    assert await shell(*words) == 0
    assert ESCAPED in shell.out
    assert not set(shell.out) & set("\x1b\x07\x9b\r")


async def test_an_error_is_a_cause_and_what_to_do(shell: Shell) -> None:
    assert await shell("why", "x") == 1
    assert shell.err == f"stackd: There is no {ESCAPED}.\n        See: stackd ls\n"
    assert shell.out == ""
