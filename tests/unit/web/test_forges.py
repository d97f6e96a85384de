"""How each forge is told the status of a commit, as its API documents it."""

import json

import pytest

from stackd.core.model.source import CommitState, Forge
from stackd.errors import Refused
from stackd.web import forges
from stackd.web.fetch import Answer, Call

SHA = "c" * 40
FAILED = forges.Status(SHA, CommitState.FAILURE, "shop/web is aborted", "stackd/ops")


def said(call: Call) -> dict[str, str]:
    assert call.body is not None
    found = json.loads(call.body)
    assert isinstance(found, dict)
    return found


def test_github() -> None:
    call = forges.call(Forge.GITHUB, "https://api.github.com/repos/o/n", "t0k", FAILED)
    assert call.url == f"https://api.github.com/repos/o/n/statuses/{SHA}"
    assert call.headers["Authorization"] == "Bearer t0k"
    assert said(call) == {
        "state": "failure", "description": "shop/web is aborted", "context": "stackd/ops",
    }  # fmt: skip


def test_gitlab() -> None:
    call = forges.call(Forge.GITLAB, "https://g/api/v4/projects/7", "t0k", FAILED)
    assert call.url == f"https://g/api/v4/projects/7/statuses/{SHA}"
    assert call.headers["PRIVATE-TOKEN"] == "t0k"
    assert "Authorization" not in call.headers
    assert said(call) == {
        "state": "failed", "description": "shop/web is aborted", "name": "stackd/ops",
    }  # fmt: skip


def test_gitea() -> None:
    call = forges.call(Forge.GITEA, "https://g/api/v1/repos/o/n", "t0k", FAILED)
    assert call.headers["Authorization"] == "token t0k"
    assert said(call)["state"] == "failure"


@pytest.mark.parametrize(
    ("forge", "states"),
    [
        (Forge.GITHUB, ["pending", "success", "failure", "error"]),
        (Forge.GITEA, ["pending", "success", "failure", "error"]),
        (Forge.GITLAB, ["pending", "success", "failed", "canceled"]),
    ],
)
def test_words_are_those_that_the_forge_knows(forge: Forge, states: list[str]) -> None:
    calls = [
        forges.call(forge, "u", "t", forges.Status(SHA, state, "", "c")) for state in CommitState
    ]
    assert [said(call)["state"] for call in calls] == states


@pytest.mark.parametrize(("forge", "most"), [(Forge.GITHUB, 140), (Forge.GITLAB, 255)])
def test_long_texts_are_shortened(forge: Forge, most: int) -> None:
    status = forges.Status(SHA, CommitState.PENDING, "x" * 500, "c")
    text = said(forges.call(forge, "u", "t", status))["description"]
    assert (len(text), text[-1]) == (most, "…")


def test_the_token_is_not_printed() -> None:
    assert "t0k" not in repr(forges.call(Forge.GITHUB, "u", "t0k", FAILED))


def test_gitlab_refuses_a_status_that_it_has() -> None:
    body = b'{"message":"Cannot transition status via :enqueue from :pending"}'
    assert forges.taken(Forge.GITLAB, Answer(400, body))
    assert not forges.taken(Forge.GITHUB, Answer(400, body))
    assert not forges.taken(Forge.GITLAB, Answer(400, b"{}"))
    assert forges.taken(Forge.GITLAB, Answer(201))
    assert not forges.taken(Forge.GITEA, Answer(302))


@pytest.mark.parametrize(
    ("forge", "host", "url"),
    [
        (Forge.GITHUB, "github.com", "https://api.github.com/repos/o/n"),
        (Forge.GITHUB, "gh.example", "https://gh.example/api/v3/repos/o/n"),
        (Forge.GITLAB, "gitlab.com", "https://gitlab.com/api/v4/projects/o%2Fn"),
        (Forge.GITEA, "codeberg.org", "https://codeberg.org/api/v1/repos/o/n"),
    ],
)
def test_the_api_of_a_repository(forge: Forge, host: str, url: str) -> None:
    assert forges.api_of(forge, host, "o/n") == url


@pytest.mark.parametrize(
    "url", ["https://api.example/repos/o/n", "http://127.0.0.1:80/x", "http://localhost/x"]
)
def test_https_or_this_machine(url: str) -> None:
    assert forges.check_api(f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/x", "ftp://api.example/x", "api.example/x", "https://", "",
        "https://user:pass@api.example/x", "https://api.example/x?a=b", "https://api.example/x#a",
        "https://api.example:0/x", "https://api.example:x/", "https://api.example/a b",
        "https://api.example/\u00e4", "https://api.example/a\r\nHost: b",
    ],
)  # fmt: skip
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        forges.check_api(url)
