"""Waiting until the World has reached a store revision, so that nobody decides on old data."""

import asyncio
import heapq

from stackd.errors import Unavailable


class Applied:
    """The revision reached and who waits for a later one. Belongs to `Tables`."""

    def __init__(self) -> None:
        self._revision = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._closed = True

    def open(self) -> None:
        """The store is followed from now on."""
        self._closed = False

    def reached(self, revision: int) -> None:
        """Wake those who wait for `revision` or an earlier one."""
        self._revision = revision
        while self._waiting and self._waiting[0][0] <= revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """The store is no longer followed: who waits gets Unavailable."""
        self._closed = True
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(self._gone())
        self._waiting.clear()

    async def wait(self, revision: int) -> None:
        """Return once `revision` is reached. Raises Unavailable when nobody follows the store."""
        if revision <= self._revision:
            return
        if self._closed:
            raise self._gone()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiting, (revision, self._count, future))
        await future

    @staticmethod
    def _gone() -> Unavailable:
        return Unavailable(
            "It was written, but this manager stops following its store.",
            "Look at the state before trying again.",
        )
