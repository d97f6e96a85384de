"""`registry login|ls|logout`, and how each registry is spoken to.

Called by the control API; `access` by the image service. Passwords are sealed in the store and
opened for one command at a time.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stackd.aio.clock import Clock
from stackd.core.model.api import LoginRequest, RegistryRows, Text
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.registry import RegistryLogin
from stackd.errors import Refused, Unknown
from stackd.registry.reference import check_host
from stackd.registry.skopeo import Access
from stackd.store.seal import Sealer
from stackd.store.tables import Fence, Tables

TryLogin = Callable[[str, Access], Awaitable[None]]
"""Ask a registry whether it takes credentials; raises Refused or Unavailable."""


@dataclass(frozen=True, slots=True)
class Registries:
    """The registries that the cluster knows."""

    tables: Tables
    fence: Fence | None
    sealer: Sealer
    clock: Clock

    def access(self, host: str) -> Access:
        """How to speak to a registry; without a login: HTTPS, nobody's name."""
        found = self.tables.world.get(RegistryLogin, host)
        if found is None:
            return Access()
        password = self.sealer.open(found.password, _context(host)) if found.password else b""
        return Access(found.username, password.decode(), found.insecure)

    async def login(self, request: LoginRequest, by: str, try_login: TryLogin) -> Text:
        """Keep credentials that the registry takes. Without a user name only `insecure` is kept.
        Raises Refused, Unavailable."""
        host = check_host(request.host)
        if bool(request.username) != bool(request.password):
            raise Refused("A user name and a password go together.", "Give both.")
        if ":" in request.username or not request.username.isprintable():
            raise Refused("The user name has characters that are not allowed.")
        if not request.username and not request.insecure:
            raise Refused("There is nothing to keep.", "Give a user name, or --insecure.")
        if request.username:
            access = Access(request.username, request.password, request.insecure)
            await try_login(host, access)
        sealed = request.password.encode()
        record = RegistryLogin(
            host=host,
            username=request.username,
            password=self.sealer.seal(sealed, _context(host)) if sealed else b"",
            insecure=request.insecure,
            at=self.clock.now(),
            by=by,
        )
        await self.tables.commit(Changes(changes=(Put(record=record),)), self.fence)
        return Text(text=f"Logged in to {host}." if sealed else f"{host} may be insecure.")

    def ls(self) -> RegistryRows:
        """Host, user name, whether it may be insecure."""
        rows = [
            {"host": r.host, "username": r.username, "insecure": "yes" if r.insecure else "no"}
            for r in self.tables.world.all(RegistryLogin)
        ]
        return RegistryRows(registries=tuple(rows))

    async def logout(self, host: str) -> Text:
        """Forget a registry. Raises Refused when it is not known."""
        host = check_host(host)
        if self.tables.world.get(RegistryLogin, host) is None:
            raise Unknown(f"There is no login for {host}.", "See: stackd registry ls")
        gone = Delete(ref=ref(RegistryLogin, host))
        await self.tables.commit(Changes(changes=(gone,)), self.fence)
        return Text(text=f"Logged out of {host}.")


def _context(host: str) -> str:
    return f"registry password/{host}"
