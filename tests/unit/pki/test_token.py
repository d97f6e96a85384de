"""Join tokens: their form, and one answer for everything that is wrong with them."""

import hashlib
import re

import pytest

from stackd.core.model.node import Role
from stackd.errors import Refused
from stackd.pki import token
from stackd.pki.token import Token

FINGERPRINT = hashlib.sha256(b"authority").hexdigest()
KNOWN = {Role.WORKER: "w" * 25, Role.MANAGER: "m" * 25}


def text(role: Role, fingerprint: str = FINGERPRINT) -> str:
    return Token(fingerprint, KNOWN[role]).text()


@pytest.mark.parametrize("fingerprint", [FINGERPRINT, "0" * 64, "f" * 64])
def test_a_token_is_read_back(fingerprint: str) -> None:
    made = Token(fingerprint, token.new_secret())
    assert re.fullmatch(r"STKD-1-[0-9a-z]{50}-[0-9a-z]{25}", made.text())
    assert token.parse(made.text() + "\n") == made


@pytest.mark.parametrize("role", list(Role))
def test_a_token_grants_its_role_only(role: Role) -> None:
    assert token.role_of(text(role), FINGERPRINT, KNOWN) is role


GOOD = text(Role.WORKER)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "x" * 100_000,
        GOOD.lower(),
        GOOD.replace("STKD", "SWMTKN"),
        GOOD.replace("STKD-1", "STKD-2"),
        GOOD[:-1],
        GOOD + "a",
        GOOD.replace("w", "W"),
        GOOD.replace("w", "_"),
        GOOD.replace("w", "\N{FULLWIDTH DIGIT ONE}"),
        GOOD[:-1] + "x",
        GOOD.replace(GOOD.split("-")[2], "z" * 50),
        GOOD.replace(GOOD.split("-")[2], GOOD.split("-")[2][1:]),
        text(Role.WORKER, hashlib.sha256(b"another").hexdigest()),
        Token(FINGERPRINT, "r" * 25).text(),
    ],
)
def test_every_fault_gets_the_same_answer(wrong: str) -> None:
    with pytest.raises(Refused) as caught:
        token.role_of(wrong, FINGERPRINT, KNOWN)
    assert str(caught.value) == "This join token is not valid."


def test_no_secrets_grant_nothing() -> None:
    with pytest.raises(Refused):
        token.role_of(GOOD, FINGERPRINT, {})


def test_secrets_are_not_shown_and_never_the_same() -> None:
    assert "w" * 25 not in repr(Token(FINGERPRINT, "w" * 25))
    assert len({token.new_secret() for _ in range(100)}) == 100
