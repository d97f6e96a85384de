"""A repository's secrets: refused when they cannot be right, kept as one sealed value."""

import msgspec
import pytest

from stackd.core.model.api import RepoAddRequest
from stackd.core.model.source import Repository
from stackd.errors import Corrupt, Refused
from stackd.manager.sealed import Secrets, asked, opened, sealed
from stackd.store.seal import Sealer

SEALER = Sealer(b"k" * 32)


def request(**fields: bytes) -> RepoAddRequest:
    return msgspec.structs.replace(RepoAddRequest(name="ops", url="https://h/x"), **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"token": b"a\nb"}, "The token holds a line break"),
        ({"webhook_secret": b"0123456789abcdef\n0"}, "The webhook secret holds a line break"),
        ({"webhook_secret": b"short"}, "less than 16 characters"),
    ],
)
def test_secrets_that_cannot_be_right(fields: dict[str, bytes], said: str) -> None:
    with pytest.raises(Refused, match=said):
        asked(request(**fields))


def test_what_is_sealed_can_be_opened_only_for_the_same_repository() -> None:
    secrets = Secrets(token=b"hush-token", webhook=b"0123456789abcdef")
    body = sealed(SEALER, "ops", secrets)
    assert b"hush" not in body
    assert opened(SEALER, Repository(name="ops", url="", credential=body)) == secrets
    with pytest.raises(Corrupt):
        opened(SEALER, Repository(name="other", url="", credential=body))


def test_nothing_is_sealed_when_there_is_nothing() -> None:
    assert sealed(SEALER, "ops", Secrets()) == b""
    assert opened(SEALER, Repository(name="ops", url="")) == Secrets()


def test_secrets_are_not_printed() -> None:
    assert "hush" not in repr(Secrets(token=b"hush"))
