"""Watches of the SQLite driver: live batches, after what the log still holds.

A watcher that falls far behind loses its live queue and reads the log again from where it was.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from stackd.errors import Unavailable
from stackd.store.kv import WatchBatch

BACKLOG = 4096
"""Batches kept for one slow watcher."""

History = Callable[[str, int], Awaitable[WatchBatch]]


class Watchers:
    """All watches of one store. Lives in the event loop."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._watchers: set[_Watcher] = set()
        self._closed = False

    def publish(self, batch: WatchBatch) -> None:
        """Hand a committed group to every watcher."""
        for watcher in self._watchers:
            watcher.offer(batch)

    def close(self) -> None:
        """End every watch with Unavailable."""
        self._closed = True
        for watcher in self._watchers:
            watcher.wake.set()

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """See `KV.watch`."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            while True:
                # The live queue is open before the log is read: nothing falls between them.
                watcher.behind = False
                batch = await self._history(prefix, from_revision)
                while True:
                    yield _only(batch, prefix, from_revision)
                    from_revision = max(from_revision, batch.revision + 1)
                    await watcher.wait(lambda: self._closed)
                    if watcher.behind:
                        break
                    batch = watcher.take()
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    """One watch: what was committed and not yet taken."""

    def __init__(self) -> None:
        self.queue: deque[WatchBatch] = deque()
        self.wake = asyncio.Event()
        self.behind = False

    def offer(self, batch: WatchBatch) -> None:
        if len(self.queue) >= BACKLOG:
            self.queue.clear()
            self.behind = True
        if not self.behind:
            self.queue.append(batch)
        self.wake.set()

    async def wait(self, closed: Callable[[], bool]) -> None:
        """Until there is something to take. Raises Unavailable when the store is closed."""
        while not self.queue and not self.behind:
            if closed():
                raise Unavailable("The store is closed.", "Start the manager again.")
            self.wake.clear()
            await self.wake.wait()

    def take(self) -> WatchBatch:
        """Everything queued, as one batch."""
        batches = list(self.queue)
        self.queue.clear()
        events = tuple(event for batch in batches for event in batch.events)
        return WatchBatch(events, batches[-1].revision)


def _only(batch: WatchBatch, prefix: str, from_revision: int) -> WatchBatch:
    events = tuple(
        event
        for event in batch.events
        if event.revision >= from_revision and event.key.startswith(prefix)
    )
    return WatchBatch(events, batch.revision)
