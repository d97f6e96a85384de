"""Join tokens: kept sealed in the store, made the first time, rotated on demand."""

import msgspec

from stackd.core.model.cluster import JoinSecrets
from stackd.core.model.node import Role
from stackd.core.model.record import Changes, Put
from stackd.manager.loop import Context
from stackd.pki import token
from stackd.store.seal import Sealer


class Tokens:
    """The two tokens of a cluster. `fingerprint`: of its authority, in hex."""

    def __init__(self, context: Context, sealer: Sealer, fingerprint: str) -> None:
        self._context = context
        self._sealer = sealer
        self._fingerprint = fingerprint

    async def prepare(self) -> None:
        """Make the secrets if there are none yet."""
        if self._context.tables.world.get(JoinSecrets, "current") is None:
            fresh = {role: self._seal(role, token.new_secret()) for role in Role}
            await self._put(JoinSecrets(worker=fresh[Role.WORKER], manager=fresh[Role.MANAGER]))

    def show(self, role: Role) -> str:
        """The token that lets its bearer join as `role`."""
        return token.Token(self._fingerprint, self._secrets()[role]).text()

    async def rotate(self, role: Role) -> str:
        """Replace a token; members stay, the old one is void."""
        sealed = self._seal(role, token.new_secret())
        known = self._known()
        await self._put(
            msgspec.structs.replace(known, worker=sealed)
            if role is Role.WORKER
            else msgspec.structs.replace(known, manager=sealed)
        )
        return self.show(role)

    def role_of(self, text: str) -> Role:
        """The role a presented token grants. Raises Refused."""
        return token.role_of(text, self._fingerprint, self._secrets())

    def _secrets(self) -> dict[Role, str]:
        known = self._known()
        sealed = {Role.WORKER: known.worker, Role.MANAGER: known.manager}
        return {r: self._sealer.open(s, _context(r)).decode() for r, s in sealed.items()}

    def _known(self) -> JoinSecrets:
        known = self._context.tables.world.get(JoinSecrets, "current")
        assert known is not None, "prepare comes first"
        return known

    def _seal(self, role: Role, secret: str) -> bytes:
        return self._sealer.seal(secret.encode(), _context(role))

    async def _put(self, record: JoinSecrets) -> None:
        changes = Changes(changes=(Put(record=record),))
        await self._context.tables.commit(changes, self._context.fence)


def _context(role: Role) -> str:
    return f"join token/{role}"
