"""Join tokens: `STKD-1-<authority>-<secret>`.

The first part is the SHA-256 of the authority's certificate in base 36: a joiner sends the secret
only to a manager that shows this authority. The second part says for which role it may join.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from stackd.aio.ids import base36
from stackd.core.model.node import Role
from stackd.errors import Refused

FINGERPRINT_DIGITS = 50
SECRET_DIGITS = 25
"""More than 128 bits."""

_TOKEN = re.compile(
    rf"STKD-1-([0-9a-z]{{{FINGERPRINT_DIGITS}}})-([0-9a-z]{{{SECRET_DIGITS}}})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Token:
    """A join token: `fingerprint` is 64 hex digits."""

    fingerprint: str
    secret: str = field(repr=False)

    def text(self) -> str:
        """The token as people copy it."""
        digest = base36(int(self.fingerprint, 16), FINGERPRINT_DIGITS)
        return f"STKD-1-{digest}-{self.secret}"


def new_secret() -> str:
    """The secret part of a new token."""
    return base36(secrets.randbelow(36**SECRET_DIGITS), SECRET_DIGITS)


def parse(text: str) -> Token:
    """The parts of a token. Raises Refused, with one text for every fault."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise _invalid()
    fingerprint = int(found[1], 36)
    if fingerprint >= 1 << 256:
        raise _invalid()
    return Token(f"{fingerprint:064x}", found[2])


def role_of(text: str, fingerprint: str, known: Mapping[Role, str]) -> Role:
    """The role that a token lets its bearer join as; `known` are the present secrets.

    Takes the same time for every wrong secret. Raises Refused with one text for every fault.
    """
    token = parse(text)
    same_cluster = hmac.compare_digest(token.fingerprint, fingerprint)
    granted = None
    for role, secret in known.items():
        if hmac.compare_digest(token.secret, secret):
            granted = role
    if not same_cluster or granted is None:
        raise _invalid()
    return granted


def _invalid() -> Refused:
    return Refused(
        "This join token is not valid.", "Ask for one with: stackd token show worker (or manager)."
    )
