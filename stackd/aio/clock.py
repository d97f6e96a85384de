"""Time as a value that is passed in, so that tests and simulations own it."""

import asyncio
import heapq
import time
from typing import Protocol


class Clock(Protocol):
    """What the shell knows of time."""

    def now(self) -> float:
        """Unix seconds that never jump while the process lives: the wall clock at start plus
        monotonic time since. For durations between stored times and for display."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""
        ...


class SystemClock:
    """The machine's clock, anchored once, so that a step of the wall clock moves no timer."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def at_least(self, moment: float) -> None:
        """Not earlier than `moment` from now on: for who finds times of a former life that are
        ahead, because the wall clock was set back meanwhile. Before anything waits."""
        self._offset = max(self._offset, moment - time.monotonic())

    def now(self) -> float:
        return self._offset + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that moves only when told: for tests and simulations."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), self._count, future))
        await future

    def next_at(self) -> float | None:
        """When the first of those asleep will wake; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking each sleeper at its own time, in order."""
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now = end
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let everything that can run now run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
