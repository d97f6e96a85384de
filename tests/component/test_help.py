"""Help: every verb says what it does, with an example; completion scripts name the program."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from stackd.cli import app


def commands(group: Any, words: str = "stackd") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        inner = f"{words} {name}"
        yield from commands(command, inner) if hasattr(command, "commands") else [(inner, command)]


VERBS = dict(commands(typer.main.get_command(app.build(""))))
LISTED = [words for words, command in VERBS.items() if not command.hidden]


@pytest.mark.parametrize("words", LISTED)
def test_every_verb_has_an_example_of_itself(words: str) -> None:
    text = " ".join((VERBS[words].help or "").split())
    assert f"Example: {words}" in text


@pytest.mark.parametrize("words", LISTED)
def test_every_verb_that_prints_knows_json(words: str) -> None:
    options = {option for p in VERBS[words].params for option in getattr(p, "opts", ())}
    own_output = {"stackd exec"}
    assert ("-o" in options) is (words not in own_output)


def test_planned_verbs_are_not_listed() -> None:
    hidden = {words for words, command in VERBS.items() if command.hidden}
    assert "stackd init" in hidden
    assert "stackd image push" in hidden


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_printed_and_is_no_error(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["ps", flag]) == 0
    assert "Example: stackd ps shop/web" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, []),
        ({"COMP_WORDS": "stackd ps "}, []),
        ({"_STACKD_COMPLETE": "complete_bash", "COMP_WORDS": "stackd ps --"}, ["ps", "--"]),
        ({"_STACKD_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "stackd "}, []),
    ],
)
def test_the_words_to_complete(environment: dict[str, str], words: list[str]) -> None:
    assert app.completed_words(environment) == words
