"""Tokens for the JSON API: made, listed, removed, and recognised when one is shown.

A token is 256 random bits, so a plain SHA-256 of it is kept: slow or salted hashes protect words
that people choose and others could guess, and nobody can go through 2^256 of these.
"""

import hashlib
import hmac
import secrets

from stackd.core.model.access import EVERY_STACK, ApiToken, Scope
from stackd.core.model.api import TokenCreated, TokenCreateRequest, TokenRow, TokenRows
from stackd.core.model.draft import Draft
from stackd.core.model.ids import OBJECT_NAME, STACK_NAME
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.times import rfc3339
from stackd.errors import Refused, Unknown
from stackd.manager.loop import Context
from stackd.store.tables import Tables

PREFIX = "stackd_"
"""So that scanners for leaked secrets find them."""
LONGEST = 366 * 86_400.0


class Access:
    """The tokens of a cluster."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, request: TokenCreateRequest, by: str) -> TokenCreated:
        """Make a token. Raises Refused for a name that is taken and for what grants nothing."""
        self._check(request)
        now = self._context.clock.now()
        text = PREFIX + secrets.token_urlsafe(32)
        made = ApiToken(
            name=request.name,
            hash=_hash(text),
            scopes=tuple(sorted(set(request.scopes))),
            stacks=tuple(sorted(set(request.stacks))),
            expires=now + request.seconds,
            created=now,
            by=by,
        )
        draft = Draft(now, self._context.ids.__next__, by)
        scopes, stacks = ", ".join(made.scopes), ", ".join(made.stacks)
        event = draft.event("token.created", made.name, f"{scopes} of {stacks}")
        await self._commit(Changes(changes=(Put(record=made), Put(record=event))))
        return TokenCreated(name=made.name, token=text, expires=rfc3339(made.expires))

    def list(self) -> TokenRows:
        """Every token, without its secret."""
        now = self._context.clock.now()
        found = self._context.tables.world.all(ApiToken)
        return TokenRows(
            tokens=tuple(
                TokenRow(
                    name=one.name,
                    scopes=one.scopes,
                    stacks=one.stacks,
                    created=rfc3339(one.created),
                    expires=rfc3339(one.expires),
                    expired=one.expires <= now,
                    by=one.by,
                )
                for one in found
            )
        )

    async def remove(self, name: str, by: str) -> str:
        """Make a token void at once; a sentence."""
        if self._context.tables.world.get(ApiToken, name) is None:
            raise Unknown(f"There is no token {name}.", "See: stackd token ls")
        draft = Draft(self._context.clock.now(), self._context.ids.__next__, by)
        event = draft.event("token.removed", name, f"removed by {by}")
        change = Delete(ref=ref(ApiToken, name))
        await self._commit(Changes(changes=(change, Put(record=event))))
        return f"Token {name} is void."

    def _check(self, request: TokenCreateRequest) -> None:
        if not OBJECT_NAME.fullmatch(request.name):
            raise Refused(
                f"{request.name!r} is not a name.", "Use letters, digits, _ and -, at most 63."
            )
        if self._context.tables.world.get(ApiToken, request.name) is not None:
            raise Refused(
                f"There is a token {request.name} already.",
                f"Choose another name, or: stackd token rm {request.name}",
            )
        if not request.scopes:
            raise Refused("A token without a scope grants nothing.", "Give --scope, e.g. read.")
        if not request.stacks:
            raise Refused("A token needs stacks.", "Name each with --stack; '*' is every stack.")
        if Scope.APPROVE in request.scopes and EVERY_STACK not in request.stacks:
            raise Refused(
                "A commit that is approved may declare any stack.",
                "Give --stack '*' with --scope approve.",
            )
        for stack in request.stacks:
            if stack != EVERY_STACK and not STACK_NAME.fullmatch(stack):
                raise Refused(f"{stack!r} is not a stack's name.", "See: stackd ls")
        if not 0 < request.seconds <= LONGEST:
            raise Refused("A token expires within 366 days.", "Give --expires, e.g. 30d.")

    async def _commit(self, changes: Changes) -> None:
        await self._context.tables.commit(changes, self._context.fence)


def recognised(tables: Tables, text: str, now: float) -> ApiToken | None:
    """The token that `text` is, unless it has expired. Takes the same time for every text that
    is none: all are compared, each in constant time."""
    shown = _hash(text)
    found = None
    for one in tables.world.all(ApiToken):
        if hmac.compare_digest(one.hash, shown):
            found = one
    return found if found is not None and found.expires > now else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
