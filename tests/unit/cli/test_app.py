"""Usage errors: their exit codes, one sentence each, never a traceback; and the verb's own file."""

import pytest

from stackd.cli import app


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nosuch"], 1, "No such command"),
        (["ps", "--nope"], 1, "No such option: --nope"),
        (["--data", "/nowhere", "repo", "add"], 1, "Missing argument"),
        (["diff", "--nope"], 2, "No such option: --nope"),
        ([], 1, "Usage: stackd"),
        (["repo"], 1, "Usage: stackd repo"),
    ],
)
def test_usage_errors(
    words: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert said in shown.err


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["ps"], "ps"),
        (["--data", "up", "ps", "down"], "ps"),
        (["--data=x", "ps"], "ps"),
        (["--help"], ""),
        ([], ""),
    ],
)
def test_the_verb_of_a_command(words: list[str], verb: str) -> None:
    assert app.verb_of(words) == verb


def test_one_verb_is_built_alone_and_all_without_one() -> None:
    assert [command.name for command in app.build("ps").registered_commands] == ["ps"]
    every = app.build("")
    names = {command.name for command in every.registered_commands}
    assert names == {*app.LATER[""], *(verb for verbs in app.VERBS.values() for verb in verbs)}
    assert {group.name for group in every.registered_groups} == {*app.NOUNS, *app.CONTENTS}
