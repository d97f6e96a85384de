"""Removes named volumes that the manager has said must go, and says so when their data has gone.

Fed by `agent.worker`. The manager asks only when no task uses a volume, and places none there
until it has been told.
"""

import asyncio
import logging
from collections.abc import Iterable

from stackd.agent.drivers import Runtime
from stackd.agent.reporter import Reporter
from stackd.aio.backoff import Backoff
from stackd.aio.clock import Clock
from stackd.core.model.assignment import VolumeItem
from stackd.errors import StackdError

_log = logging.getLogger(__name__)


class Removals:
    """The volumes of this node that must go."""

    def __init__(self, runtime: Runtime, reporter: Reporter, clock: Clock) -> None:
        self._runtime = runtime
        self._reporter = reporter
        self._clock = clock
        self._wanted: dict[str, float] = {}
        self._removed: dict[str, float] = {}
        self._changed = asyncio.Event()

    def wanted(self, items: Iterable[VolumeItem]) -> None:
        """Exactly these."""
        self._wanted = {item.name: item.asked for item in items}
        self._changed.set()

    async def run(self) -> None:
        """Remove, until cancelled; what cannot be removed is tried again."""
        backoff = Backoff(first=0.5, most=60.0)
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._remove_all():
                backoff.reset()
            else:
                await self._clock.sleep(backoff.next())
                self._changed.set()

    async def _remove_all(self) -> bool:
        wanted, good = self._wanted, True
        done = {n: asked for n, asked in self._removed.items() if wanted.get(n) == asked}
        for name, asked in wanted.items():
            if name in done:
                continue
            try:
                await self._runtime.remove_volume(name)
                done[name] = asked
            except StackdError as error:
                _log.error("volume %s: %s", name, error.cause)
                good = False
        self._removed = done
        self._reporter.removed(done)
        return good
