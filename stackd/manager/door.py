"""Lets the bearers of tokens into the JSON API (`web.api`): who they are, what they may call,
and who answers. Wired in `manager.main`; the handlers are those of the control API."""

from stackd.aio.clock import Clock
from stackd.errors import Unavailable
from stackd.manager.access import recognised
from stackd.manager.permit import permit_token, token_principal
from stackd.manager.standing import Standing
from stackd.store.tables import Tables
from stackd.wire.control import Caller, Method


class Door:
    """Also on loopback a token is asked for: any user of the machine can connect there."""

    def __init__(self, standing: Standing, tables: Tables, clock: Clock) -> None:
        self._standing = standing
        self._tables = tables
        self._clock = clock

    def enter(self, token: str, method: str, stack: str) -> Caller | None:
        """The caller that a token stands for; None when it is none. Raises Refused when it may
        not call `method` on `stack` ('' = all)."""
        found = recognised(self._tables, token, self._clock.now())
        if found is None:
            return None
        permit_token(found, method, stack)
        return Caller(token_principal(found), method)

    def method(self, name: str) -> Method:
        """The rpc's handler. Raises Unavailable while this manager does not lead."""
        found = self._standing.methods.get(name)
        if found is None:
            raise Unavailable("This manager does not lead yet.", "Try again in a moment.", 2.0)
        return found
