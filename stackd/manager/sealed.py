"""A repository's secrets, sealed as one value: credentials, webhook secret, status token.

Used by `manager.repositories`.
"""

import msgspec

from stackd.core.model.api import RepoAddRequest
from stackd.core.model.source import Repository
from stackd.errors import Refused
from stackd.store.seal import Sealer

SHORTEST_SECRET = 16
"""Characters of a webhook's secret."""


class Secrets(msgspec.Struct, frozen=True):
    """What is in `Repository.credential` once it is opened."""

    ssh_key: bytes = b""
    token: bytes = b""
    webhook: bytes = b""
    status: bytes = b""

    def __repr__(self) -> str:
        return "Secrets()"


def asked(request: RepoAddRequest) -> Secrets:
    """The secrets in a request. Raises Refused for those that cannot be right."""
    for what, secret in (
        ("token", request.token),
        ("webhook secret", request.webhook_secret),
        ("status token", request.status_token),
    ):
        if any(byte in secret for byte in b"\r\n\0"):
            raise Refused(f"The {what} holds a line break.", f"Give a file with the {what} alone.")
    if request.webhook_secret and len(request.webhook_secret) < SHORTEST_SECRET:
        raise Refused(
            f"The webhook secret has less than {SHORTEST_SECRET} characters.",
            "Make a longer one, e.g. with: openssl rand -hex 32",
        )
    return Secrets(request.ssh_key, request.token, request.webhook_secret, request.status_token)


def sealed(sealer: Sealer, name: str, secrets: Secrets) -> bytes:
    """For the record of the repository `name`; empty when there are none."""
    if secrets == Secrets():
        return b""
    return sealer.seal(msgspec.msgpack.encode(secrets), _context(name))


def opened(sealer: Sealer, repository: Repository) -> Secrets:
    """The clear secrets of a repository. Raises Corrupt."""
    if not repository.credential:
        return Secrets()
    clear = sealer.open(repository.credential, _context(repository.name))
    return msgspec.msgpack.decode(clear, type=Secrets)


def _context(name: str) -> str:
    return f"repository credential/{name}"
