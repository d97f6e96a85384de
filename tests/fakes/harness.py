"""Runs control loops against a store in memory, in virtual time.

`async with Harness([...]) as h`: put records, `await h.advance(seconds)`, look at `h.world`. All
that can be done at a moment is done before time moves on, so a test sees the same every time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Self

from stackd.aio.clock import ManualClock, settle
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Delete, Put, Record, Ref
from stackd.core.model.world import World
from stackd.manager import loop as control
from stackd.store.tables import Tables
from tests.fakes.store import FakeStore

_RESTLESS = 500
"""Rounds without rest at one moment after which the loops are said to feed each other for ever."""


class Harness:
    """Loops, tables, store and clock of one manager."""

    def __init__(self, loops: Sequence[control.ControlLoop] = ()) -> None:
        self.loops = tuple(loops)
        self.clock = ManualClock()
        self.store = FakeStore(self.clock)
        self.tables = Tables(self.store, self.clock)
        self.ids = counted_ids()
        self._stack = contextlib.AsyncExitStack()

    @property
    def world(self) -> World:
        """What the manager knows."""
        return self.tables.world

    @property
    def context(self) -> control.Context:
        """What the manager's parts work with; no leader's epoch is asked for."""
        return control.Context(self.tables, self.clock, self.ids)

    @property
    def now(self) -> float:
        """Unix seconds of the virtual clock."""
        return self.clock.now()

    def events(self, kind: str = "") -> list[Event]:
        """Recorded events in order, of one kind if given."""
        return [e for e in self.world.all(Event) if not kind or e.kind == kind]

    async def __aenter__(self) -> Self:
        await self.tables.open()
        await self._stack.enter_async_context(self._running())
        await self.settle()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.tables.run())]
            tasks += [group.create_task(control.run(loop, self.context)) for loop in self.loops]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def put(self, *records: Record) -> int:
        """Write stored records, or remember those that live in memory, and let loops react."""
        revision = await self.tables.commit(
            Changes(changes=tuple(Put(record=record) for record in records))
        )
        await self.settle()
        return revision

    async def delete(self, table: type[Record], key: str) -> None:
        """Remove a record and let loops react."""
        ref = Ref(table=table.TABLE, key=key)
        await self.tables.commit(Changes(changes=(Delete(ref=ref),)))
        await self.settle()

    async def settle(self) -> None:
        """Let everything that can be done at this moment be done."""
        for _ in range(_RESTLESS):
            before = self.store.revision
            await settle(40)
            if self.store.revision == before:
                return
        raise AssertionError("the loops never come to rest: they write again and again")

    async def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its own moment."""
        await self.settle()
        end = self.clock.now() + seconds
        while (at := self.clock.next_at()) is not None and at <= end:
            await self.clock.advance(max(0.0, at - self.clock.now()))
            await self.settle()
        await self.clock.advance(end - self.clock.now())
        await self.settle()


def counted_ids() -> Iterator[str]:
    """t00000000001, t00000000002, …"""
    number = 0
    while True:
        number += 1
        yield f"t{number:011d}"
