"""Whose status API a repository uses."""

import msgspec
import pytest

from stackd.core.model.api import RepoAddRequest
from stackd.core.model.source import Forge
from stackd.errors import Refused
from stackd.git.urls import check_url
from stackd.manager.repositories import status_of

REQUEST = RepoAddRequest(name="ops", url="x", status="gitea", status_token=b"t")


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/o/n.git", "https://git.example/o/n", "ssh://git@git.example/o/n.git",
        "git@git.example:o/n.git",
    ],
)  # fmt: skip
def test_by_default_it_is_where_the_repository_is(url: str) -> None:
    found = status_of(REQUEST, check_url(url))
    assert found == (Forge.GITEA, "https://git.example/api/v1/repos/o/n")


def test_an_address_that_was_given_wins() -> None:
    given = msgspec.structs.replace(REQUEST, status_url="https://api.example/r/")
    found = status_of(given, check_url("/srv/x", local=True))
    assert found == (Forge.GITEA, "https://api.example/r")


def test_nobody_is_told_without_a_forge() -> None:
    assert status_of(RepoAddRequest(name="ops", url="x"), check_url("https://h/x")) == (None, "")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "svn"}, "not a known forge"),
        ({"status": ""}, "whose status API"),
        ({"status_token": b""}, "need a token"),
        ({"status_url": "http://api.example"}, "not an https URL"),
    ],
)
def test_what_cannot_be(fields: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=said):
        status_of(msgspec.structs.replace(REQUEST, **fields), check_url("https://h/o/n"))


def test_a_local_repository_has_no_forge_of_its_own() -> None:
    with pytest.raises(Refused, match="no forge"):
        status_of(REQUEST, check_url("/srv/x", local=True))
