"""The store on SQLite: one file, one manager, every acknowledged write synced to disk.

Opened by the manager's main. Leases live in memory: the only client is this process, so what an
earlier process had leased is removed at open.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.aio.clock import Clock
from stackd.aio.loop import Bell
from stackd.aio.tasks import Background
from stackd.errors import Conflict, Unavailable
from stackd.store import limits
from stackd.store.format import Format
from stackd.store.kv import Compare, KeyValue, Op, Range, TxnResult, WatchBatch
from stackd.store.watchers import Watchers
from stackd.store.writer import Writer


@dataclass(slots=True)
class _Lease:
    ttl: float
    ends: float


class SqliteStore:
    """`KV` on one SQLite file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._watchers = Watchers(self._history)
        self._writer = Writer(path, self._watchers.publish)
        self._leases: dict[int, _Lease] = {}
        self._last_lease = 0
        self._background = Background()
        self._granted = Bell(clock)

    @classmethod
    async def open(cls, path: Path, clock: Clock, wanted: Format | None = None) -> "SqliteStore":
        """Open or create the store at `path`; its folder must be there.

        Raises Corrupt when the file is damaged, Refused when a newer stackd wrote it,
        Unavailable when another process has it open or the disk is full or read-only.
        """
        store = cls(path, clock)
        # A lease id is never used again, not even by the next process.
        store._last_lease = await store._writer.open(wanted or Format()) << 20
        await store._writer.do(lambda group: group.drop_leased())
        store._background.start(store._expire(), "store leases")
        return store

    async def range(self, prefix: str) -> Range:
        return await self._writer.do(lambda group: group.range(prefix))

    async def get(self, key: str) -> KeyValue | None:
        return await self._writer.do(lambda group: group.get(key))

    async def txn(
        self, compare: Sequence[Compare], then: Sequence[Op], otherwise: Sequence[Op] = ()
    ) -> TxnResult:
        limits.check(compare, then, otherwise)
        for op in (*then, *otherwise):
            self._check_lease(getattr(op, "lease", 0))
        keys = [item.key for item in (*compare, *then, *otherwise)]
        return await self._writer.do(lambda group: group.transact(compare, then, otherwise), keys)

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        return self._watchers.watch(prefix, from_revision)

    async def _history(self, prefix: str, from_revision: int) -> WatchBatch:
        return await self._writer.do(lambda group: group.history(prefix, from_revision))

    async def compact(self, revision: int) -> None:
        await self._writer.do(lambda group: group.compact(revision))

    async def close(self) -> None:
        await self._background.close()
        self._watchers.close()
        await self._writer.close()

    async def grant(self, ttl: float) -> int:
        self._last_lease += 1
        self._leases[self._last_lease] = _Lease(ttl, self._clock.now() + ttl)
        self._granted.ring()
        return self._last_lease

    async def keepalive(self, lease: int) -> None:
        self._check_lease(lease)
        held = self._leases[lease]
        held.ends = self._clock.now() + held.ttl

    async def revoke(self, lease: int) -> None:
        self._leases.pop(lease, None)
        await self._writer.do(lambda group: group.revoke(lease))

    def _check_lease(self, lease: int) -> None:
        if not lease:
            return
        held = self._leases.get(lease)
        # Also before the timer has come to it: a process that slept must not outlive its lease.
        if held is None or held.ends <= self._clock.now():
            raise Conflict("The lease has ended.", "Take a new one.")

    async def _expire(self) -> None:
        while True:
            now = self._clock.now()
            for lease in [key for key, held in self._leases.items() if held.ends <= now]:
                try:
                    await self.revoke(lease)
                except Unavailable as error:
                    self._leases[lease] = _Lease(0, now)  # still to be removed
                    await self._clock.sleep(error.retry_after)
            ends = min((held.ends for held in self._leases.values()), default=None)
            await self._granted.wait(None if ends is None else max(0.0, ends - now))
