"""What git says on standard error becomes one sentence of cause and one of what to do."""

import pytest

from stackd.aio.proc import Completed
from stackd.errors import Refused, StackdError, Unavailable
from stackd.git.answers import translate

HOST = "git.example"


def said(text: str) -> Completed:
    """A command that failed so."""
    return Completed(128, b"", text.encode())


@pytest.mark.parametrize(
    ("text", "kind", "cause"),
    [
        ("Host key verification failed.", Refused, "host key of git.example"),
        ("git@git.example: Permission denied (publickey).", Refused, "does not accept"),
        ("fatal: unable to access: The requested URL returned error: 403", Refused, "not accept"),
        ("fatal: repository 'https://git.example/x/' not found", Refused, "no repository"),
        ("fatal: detected dubious ownership in repository at '/x'", Refused, "owner"),
        ("error: index-pack died of signal 25", Refused, "larger than stackd fetches"),
        ("fatal: server certificate verification failed", Unavailable, "not trusted"),
        ("fatal: unable to update url base from redirection", Refused, "redirects"),
        ("ssh: Could not resolve hostname git.example", Unavailable, "git.example is not known"),
        ("fatal: unable to access: Could not resolve host: git.example", Unavailable, "not known"),
        ("fatal: the remote end hung up unexpectedly", Unavailable, "hung up unexpectedly"),
    ],
)
def test_translated(text: str, kind: type[StackdError], cause: str) -> None:
    error = translate(said(text), HOST)
    assert type(error) is kind
    assert cause in error.cause
    assert "\n" not in error.cause


def test_the_cause_is_the_line_of_git_itself_and_harmless() -> None:
    error = translate(said("remote: \x1b[31mhello\nfatal: odd\x1b[0m\nmore"), HOST)
    assert error.cause == "git could not read the repository: fatal: odd[0m."
    assert error.remedy
