"""Typed tables over a KV: the one World of a manager, fed by the store, and commits against it.

Wired in the manager's main: `open`, then `run` in a task group. Loops and the API read `world`,
subscribe, and commit; each commit is made under the condition that what it replaces or relied on
is as it was in the World when the commit was prepared.
"""

import logging
from contextlib import aclosing
from dataclasses import dataclass
from typing import NoReturn

from stackd.aio.clock import Clock
from stackd.aio.loop import forever
from stackd.aio.tasks import together
from stackd.core.model.record import Changes, Delete, Put, Record, Ref
from stackd.core.model.world import World
from stackd.errors import Conflict, Unavailable
from stackd.store import codec
from stackd.store.applied import Applied
from stackd.store.kv import (
    KV,
    Compacted,
    Compare,
    DeleteOp,
    KeyValue,
    Op,
    PutOp,
    Range,
    WatchBatch,
)
from stackd.store.records import in_memory
from stackd.store.subscription import Subscription

log = logging.getLogger(__name__)

PREFIX = "/stackd/"
RELIST = 300.0
"""Seconds between two comparisons of the World with the whole store: a watch is a hint."""
KEEP = 10_000
"""Revisions of history kept for watches."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The leader's epoch key and the revision it was written at: every write of a leader is
    refused once another leader has written it."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit with its conditions, taken from the World when it was decided."""

    compare: tuple[Compare, ...]
    operations: tuple[Op, ...]
    fence: Fence | None
    local: Changes
    """The part that lives in memory only."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A stored record that cannot be read: kept out of the World, never stops the others."""

    ref: Ref
    revision: int
    reason: str


class Tables:
    """The World, its feeding and its commits. One per manager process."""

    def __init__(self, kv: KV, clock: Clock) -> None:
        self._kv = kv
        self._clock = clock
        self.world = World()
        self.quarantine: dict[Ref, Quarantined] = {}
        self.trouble = ""
        """Why the last write could not be made, in a sentence; '' when it was."""
        self._subscriptions: list[Subscription] = []
        self._applied = Applied()
        self._local_revision = 0

    async def open(self) -> None:
        """Load every record. Raises Unavailable, Corrupt."""
        self._relisted(await self._kv.range(PREFIX))
        self._applied.open()

    async def run(self) -> NoReturn:
        """Follow the store until cancelled. Raises only Corrupt."""
        try:
            await together(
                forever("store watch", self._clock, self._follow),
                forever("store re-list", self._clock, self._compare_now_and_then),
            )
        finally:
            self._applied.close()

    def subscribe(self, *tables: type[Record]) -> Subscription:
        """A view on what changes in `tables` from now on."""
        names = frozenset(table.TABLE for table in tables)
        subscription = Subscription(names, self._clock)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop noting changes for `subscription`."""
        self._subscriptions.remove(subscription)

    def remember(self, record: Record) -> None:
        """Take in a record that lives in memory only (table `mem_…`)."""
        assert in_memory(record.TABLE), f"{record.TABLE} is stored: commit it"
        self._local_revision += 1
        self.world.apply(record, self._local_revision)
        self._notify(Ref(table=record.TABLE, key=record.key))

    def forget(self, table: type[Record], key: str) -> None:
        """Drop a record that lives in memory only."""
        assert in_memory(table.TABLE), f"{table.TABLE} is stored: commit a Delete"
        self.world.remove(table.TABLE, key)
        self._notify(Ref(table=table.TABLE, key=key))

    def prepare(self, changes: Changes, fence: Fence | None = None) -> Prepared:
        """Bind `changes` to the World as it is now. Does no I/O."""
        compare: dict[str, Compare] = {}
        operations: list[Op] = []
        local = []
        for change in changes.changes:
            match change:
                case Put(record=record):
                    ref = Ref(table=record.TABLE, key=record.key)
                case Delete(ref=ref):
                    pass
            if in_memory(ref.table):
                local.append(change)
                continue
            key = store_key(ref)
            compare[key] = Compare(key, self._revision(ref))
            match change:
                case Put(record=record):
                    operations.append(PutOp(key, codec.encode(record)))
                case Delete():
                    operations.append(DeleteOp(key))
        for ref in changes.relies:
            if not in_memory(ref.table):
                key = store_key(ref)
                compare[key] = Compare(key, self._revision(ref))
        if fence is not None:
            compare[fence.key] = Compare(fence.key, fence.revision)
        return Prepared(
            tuple(compare.values()), tuple(operations), fence, Changes(changes=tuple(local))
        )

    async def commit(self, changes: Changes, fence: Fence | None = None) -> int:
        """Write `changes` if all they replace and rely on is as the World has it at this call.

        Returns the store revision; the World has it by then. Raises Conflict (the World is then
        as new as what it conflicted with), Refused when too large, Unavailable also when `fence`
        no longer holds, Corrupt.
        """
        return await self.submit(self.prepare(changes, fence))

    async def submit(self, prepared: Prepared) -> int:
        """Write what was prepared; see `commit`."""
        try:
            result = await self._kv.txn(prepared.compare, prepared.operations)
        except Unavailable as error:
            self.trouble = error.cause
            raise
        self.trouble = ""
        await self._applied.wait(result.revision)
        if not result.succeeded:
            await self._check(prepared.fence)
            raise Conflict("What this was based on has changed meanwhile.", "Try again.")
        for change in prepared.local.changes:
            match change:
                case Put(record=record):
                    self.remember(record)
                case Delete(ref=ref):
                    self.world.remove(ref.table, ref.key)
                    self._notify(ref)
        return result.revision

    async def _check(self, fence: Fence | None) -> None:
        if fence is None:
            return
        found = await self._kv.get(fence.key)
        if found is None or found.mod_revision != fence.revision:
            raise Unavailable("This manager no longer leads.", "The leader will do it.")

    def _revision(self, ref: Ref) -> int:
        bad = self.quarantine.get(ref)
        return bad.revision if bad else self.world.rev(ref.table, ref.key)

    async def _follow(self) -> None:
        try:
            async with aclosing(self._kv.watch(PREFIX, self.world.revision + 1)) as watch:
                async for batch in watch:
                    self._take(batch)
        except Compacted:
            log.warning("the watch fell behind what the store keeps: listing again")
            self._relisted(await self._kv.range(PREFIX))

    def _take(self, batch: WatchBatch) -> None:
        for event in batch.events:
            ref = ref_of(event.key)
            if event.item is not None:
                self._apply(ref, event.item)
            elif self._revision(ref) < event.revision:
                self._remove(ref)
        self._reached(batch.revision)

    def _apply(self, ref: Ref, item: KeyValue) -> None:
        if item.mod_revision <= self._revision(ref):
            return
        self.quarantine.pop(ref, None)
        try:
            record = codec.decode(ref.table, item.value)
            if record.key != ref.key:
                raise codec.Undecodable(f"it says that its key is {record.key!r}")
        except codec.Undecodable as error:
            self.world.remove(ref.table, ref.key)
            self.quarantine[ref] = Quarantined(ref, item.mod_revision, str(error))
            log.error("%s/%s cannot be read and is set aside: %s", ref.table, ref.key, error)
        else:
            self.world.apply(record, item.mod_revision)
        self._notify(ref)

    def _remove(self, ref: Ref) -> None:
        if self._revision(ref):
            self.quarantine.pop(ref, None)
            self.world.remove(ref.table, ref.key)
            self._notify(ref)

    def _reached(self, revision: int) -> None:
        self.world.revision = max(self.world.revision, revision)
        self._applied.reached(self.world.revision)

    def _relisted(self, found: Range) -> None:
        """Make the World equal to a whole listing that is not older than the World."""
        assert found.revision >= self.world.revision
        refs = set()
        for item in found.items:
            ref = ref_of(item.key)
            refs.add(ref)
            self._apply(ref, item)
        for ref in [*self.world.places(), *self.quarantine]:
            if ref not in refs and not in_memory(ref.table):
                self._remove(ref)
        self._reached(found.revision)

    async def _compare_now_and_then(self) -> None:
        await self._clock.sleep(RELIST)
        found = await self._kv.range(PREFIX)
        if found.revision >= self.world.revision:
            self._relisted(found)
        await self._kv.compact(self.world.revision - KEEP)
        for subscription in self._subscriptions:
            subscription.all_changed()

    def _notify(self, ref: Ref) -> None:
        for subscription in self._subscriptions:
            if ref.table in subscription.tables:
                subscription.changed(ref)


def store_key(ref: Ref) -> str:
    """Where a record is kept."""
    return f"{PREFIX}{ref.table}/{ref.key}"


def ref_of(key: str) -> Ref:
    """The place that a store key stands for."""
    table, _, rest = key.removeprefix(PREFIX).partition("/")
    return Ref(table=table, key=rest)
