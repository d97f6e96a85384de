"""Makes events of what nodes notice of themselves: each once, also when it is said again.

Run by `manager.dispatcher`. A node repeats its latest notices after every reconnect, and a new
leader has not heard those before: what is in the store already is known by node, time and text.
"""

import asyncio
from collections.abc import Iterable

from stackd.core.model.event import Event
from stackd.core.model.node import Node, Notice
from stackd.core.model.record import Changes, Put
from stackd.manager.loop import Context
from stackd.manager.permit import node_principal

PER_COMMIT = 20
MOST = 1000
"""Notices that wait for a store that does not take them; what comes then is in the log only."""


class Notices:
    """For one term of a leader."""

    def __init__(self, context: Context) -> None:
        self._context = context
        events = context.tables.world.all(Event)
        self._known = {(event.object, event.at, event.text) for event in events}
        self._pending: dict[str, Event] = {}
        self._ready = asyncio.Event()

    def put(self, node: str, notices: Iterable[Notice]) -> None:
        """`node` (by its certificate) says these."""
        found = self._context.tables.world.get(Node, node)
        name = found.name if found else node
        for notice in notices:
            key = (name, notice.at, notice.text)
            if key in self._known or len(self._pending) >= MOST:
                continue
            self._known.add(key)
            event = Event(
                id=next(self._context.ids),
                at=notice.at,
                kind=notice.kind,
                object=name,
                principal=node_principal(node),
                text=notice.text,
            )
            self._pending[event.id] = event
            self._ready.set()

    async def run(self) -> None:
        """Write until cancelled. Raises Unavailable or Corrupt when the store fails; what was
        being written is kept for the next run."""
        context = self._context
        while True:
            while self._pending:
                batch = list(self._pending.values())[:PER_COMMIT]
                changes = Changes(changes=tuple(Put(record=event) for event in batch))
                await context.tables.commit(changes, context.fence)
                for event in batch:
                    del self._pending[event.id]
            self._ready.clear()
            await self._ready.wait()
