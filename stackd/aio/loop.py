"""What every loop of manager and agent needs: to sleep until called or until a time, and to
outlive its own faults.

Used by the manager's control loops and the agent's workers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from stackd.aio import shortage
from stackd.aio.backoff import Backoff
from stackd.aio.clock import Clock
from stackd.aio.tasks import attempt
from stackd.errors import Corrupt, Unavailable

log = logging.getLogger(__name__)
_PATIENCE = 5.0


class Bell:
    """Wakes one sleeper. Rung any number of times before it looks, it wakes once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the sleeper, or let its next wait end at once."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> None:
        """Return when rung since the last return, or after `timeout` seconds of the clock."""
        if timeout is None or self._event.is_set():
            await self._event.wait()
        elif timeout > 0:
            async with asyncio.TaskGroup() as group:
                timer = group.create_task(self._ring_after(timeout))
                await self._event.wait()
                timer.cancel()
        self._event.clear()

    async def _ring_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._event.set()


async def forever(name: str, clock: Clock, step: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run `step` again and again; only cancelling or Corrupt ends it.

    Unavailable is waited out, and looked at again after 5 s at the latest unless it says more; so
    is what the machine lacks for now. Any other exception is a bug: logged with the loop's name
    and tried again after a growing pause, so that one bad loop neither spins nor stops the others.
    """
    backoff = Backoff(first=1.0, most=60.0)
    while True:
        try:
            await attempt(step())
            backoff.reset()
        except Corrupt:
            raise
        except Unavailable as error:
            pause = max(error.retry_after, min(backoff.next(), _PATIENCE))
            log.warning("%s: %s Again in %.0f s.", name, error.cause, pause)
            await clock.sleep(pause)
        except Exception as error:
            pause = backoff.next()
            if shortage.passing(error):
                pause = min(pause, _PATIENCE)
                log.warning("%s: %s. Again in %.0f s.", name, error, pause)
                await clock.sleep(pause)
                continue
            log.exception("%s failed; again in %.0f s", name, pause)
            await clock.sleep(pause)
