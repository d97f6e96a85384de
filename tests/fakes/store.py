"""A store in memory: the same contract as the drivers, without files or threads."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from stackd.aio.clock import Clock
from stackd.errors import Conflict, Unavailable
from stackd.store import limits
from stackd.store.kv import (
    Compacted,
    Compare,
    DeleteOp,
    KeyValue,
    Op,
    PutOp,
    Range,
    TxnResult,
    WatchBatch,
    WatchEvent,
)


@dataclass(slots=True)
class _Lease:
    ttl: float
    ends: float


@dataclass
class Faults:
    """What goes wrong: set by tests, cleared by them."""

    unavailable: bool = False
    """Every transaction raises Unavailable and does nothing."""
    mute: bool = False
    """Watches deliver nothing more, as a broken connection that nobody noticed."""


@dataclass
class FakeStore:
    """`KV` in dictionaries. Leases end when the clock says so, as seen at the next call."""

    clock: Clock
    faults: Faults = field(default_factory=Faults)
    revision: int = 0
    compacted: int = 0
    keys: dict[str, KeyValue] = field(default_factory=dict)
    log: list[WatchEvent] = field(default_factory=list)
    leases: dict[int, _Lease] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    granted: int = 0
    closed: bool = False

    async def range(self, prefix: str) -> Range:
        self._expire()
        found = [self.keys[key] for key in sorted(self.keys) if key.startswith(prefix)]
        return Range(tuple(found), self.revision)

    async def get(self, key: str) -> KeyValue | None:
        self._expire()
        return self.keys.get(key)

    async def txn(
        self, compare: Sequence[Compare], then: Sequence[Op], otherwise: Sequence[Op] = ()
    ) -> TxnResult:
        limits.check(compare, then, otherwise)
        self._expire()
        if self.faults.unavailable or self.closed:
            raise Unavailable("The store does not answer.")
        for op in (*then, *otherwise):
            if isinstance(op, PutOp) and op.lease and op.lease not in self.leases:
                raise Conflict("The lease has ended.")
        succeeded = all(self._mod_revision(c.key) == c.mod_revision for c in compare)
        self._write(then if succeeded else otherwise)
        return TxnResult(succeeded, self.revision)

    def _mod_revision(self, key: str) -> int:
        found = self.keys.get(key)
        return found.mod_revision if found else 0

    def _write(self, ops: Sequence[Op]) -> None:
        revision = self.revision + 1
        for op in ops:
            before = self.keys.get(op.key)
            item = None
            match op:
                case PutOp(key=key, value=value, lease=lease):
                    item = KeyValue(
                        key=key,
                        value=value,
                        create_revision=before.create_revision if before else revision,
                        mod_revision=revision,
                        version=before.version + 1 if before else 1,
                        lease=lease,
                    )
                    self.keys[key] = item
                case DeleteOp(key=key):
                    if self.keys.pop(key, None) is None:
                        continue
            self.log.append(WatchEvent(op.key, item, revision))
            self.revision = revision
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        reached = from_revision - 1
        first = True
        while True:
            if self.closed:
                raise Unavailable("The store is closed.")
            if first and from_revision < self.compacted:
                raise Compacted(f"revision {from_revision} is no longer kept")
            if (first or self.revision > reached) and not self.faults.mute:
                first = False
                events = [
                    event
                    for event in self.log
                    if event.revision > reached and event.key.startswith(prefix)
                ]
                reached = max(reached, self.revision)
                yield WatchBatch(tuple(events), self.revision)
            else:
                await self.changed.wait()

    async def grant(self, ttl: float) -> int:
        self.granted += 1
        self.leases[self.granted] = _Lease(ttl, self.clock.now() + ttl)
        return self.granted

    async def keepalive(self, lease: int) -> None:
        self._expire()
        if self.faults.unavailable:
            raise Unavailable("The store does not answer.")
        if lease not in self.leases:
            raise Conflict("The lease has ended.")
        held = self.leases[lease]
        held.ends = self.clock.now() + held.ttl

    async def revoke(self, lease: int) -> None:
        self.leases.pop(lease, None)
        bound = sorted(key for key, item in self.keys.items() if item.lease == lease)
        self._write([DeleteOp(key) for key in bound])

    def _expire(self) -> None:
        now = self.clock.now()
        for lease in [key for key, held in self.leases.items() if held.ends <= now]:
            del self.leases[lease]
            bound = sorted(key for key, item in self.keys.items() if item.lease == lease)
            self._write([DeleteOp(key) for key in bound])

    async def compact(self, revision: int) -> None:
        self.compacted = max(self.compacted, min(revision, self.revision))
        self.log = [event for event in self.log if event.revision >= self.compacted]

    async def close(self) -> None:
        self.closed = True
        self._wake()
