"""POST /hooks/NAME: a forge says that something was pushed to the repository NAME.

Part of the application in `web.http`. All that a good call does is to make the manager look at
that repository now, whatever its body says, so a body is never parsed, only its signature checked
while it is read. A caller without the secret learns nothing, not even which names exist.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stackd.aio.clock import Clock
from stackd.aio.rate import Buckets

MOST = 25 * 1024 * 1024
"""Bytes of a body: what GitHub sends at most."""
PATIENCE = 10.0
"""Seconds that a body may take."""
RATE, BURST = 1.0, 20.0
"""Good calls of one repository a second, and at once."""
BAD_RATE, BAD_BURST = 0.1, 5.0
"""Bad calls a second, and at once, that are noted; the others are only turned away."""
_SIGNATURES = ("x-hub-signature-256", "x-gitea-signature")
"""HMAC-SHA-256 of the body in hex, the first one after `sha256=`: GitHub; Gitea, Forgejo."""
_TOKEN = "x-gitlab-token"
"""The secret itself: GitLab."""


class Receiver(Protocol):
    """The leading manager's side."""

    def secret(self, name: str) -> bytes:
        """The secret of a repository's webhook; empty when it has none or is unknown."""
        ...

    def look(self, name: str) -> None:
        """Look at the repository now."""
        ...

    async def refused(self, name: str, caller: str) -> None:
        """Note that `caller` had no good signature for a repository that has a webhook."""
        ...


class Hooks:
    """The handler. `receiver` gives None while this manager does not lead."""

    def __init__(self, receiver: Callable[[], Receiver | None], clock: Clock) -> None:
        self._receiver = receiver
        self._good = Buckets(clock, RATE, BURST)
        self._bad = Buckets(clock, BAD_RATE, BAD_BURST)

    def route(self) -> Route:
        """For the application."""
        return Route("/hooks/{name}", self.handle, methods=["POST"])

    async def handle(self, request: Request) -> Response:
        """202 when the repository is looked at; 401 without a good signature; 413 and 408 for a
        body that is too long or too slow; 429 too often; 503 while no manager leads."""
        receiver = self._receiver()
        if receiver is None:
            return _answer(503, "this manager does not lead", after=5.0)
        name = request.path_params["name"]
        secret = receiver.secret(name)
        try:
            async with asyncio.timeout(PATIENCE):
                genuine = await is_genuine(request, secret)
        except (TimeoutError, ClientDisconnect):
            return _answer(408, "the body did not come")
        if genuine is None:
            return _answer(413, f"more than {MOST} bytes")
        if not genuine:
            return await self._turn_away(receiver, name if secret else "", _caller(request))
        if pause := self._good.take(name):
            return _answer(429, "too often", after=pause)
        receiver.look(name)
        return _answer(202, "looking")

    async def _turn_away(self, receiver: Receiver, name: str, caller: str) -> Response:
        if pause := self._bad.take(name):
            return _answer(429, "too often", after=pause)
        if name:
            await receiver.refused(name, caller)
        return _answer(401, "no good signature")


async def is_genuine(request: Request, secret: bytes) -> bool | None:
    """Whether the sender knows `secret` (never when it is empty); None for too long a body."""
    digest = hmac.new(secret, digestmod=hashlib.sha256)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST:
            return None
        digest.update(chunk)
    return bool(secret) & _matches(request.headers, digest.hexdigest(), secret)


def _matches(headers: Mapping[str, str], expected: str, secret: bytes) -> bool:
    given = [headers.get(name, "").removeprefix("sha256=") for name in _SIGNATURES]
    good = [hmac.compare_digest(one.encode(), expected.encode()) for one in given]
    token = headers.get(_TOKEN, "").encode("latin-1", "replace")
    return any([*good, hmac.compare_digest(token, secret)])


def _caller(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _answer(status: int, text: str, after: float = 0.0) -> Response:
    headers = {"Retry-After": str(max(1, round(after)))} if after else None
    return JSONResponse({"status": text}, status_code=status, headers=headers)
