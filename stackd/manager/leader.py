"""Leadership: one manager at a time runs the leader loops.

A lease on the epoch key says who leads. Each write of a leader loop compares that key's revision
(`Fence`), so the late write of a manager that lost it is refused. All leader loops live in one
task group: losing the lease ends them all.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import NoReturn

from stackd.aio.loop import forever
from stackd.aio.tasks import together
from stackd.errors import Conflict, StackdError, Unavailable
from stackd.manager.loop import Context
from stackd.store.kv import KV, Compacted, Compare, PutOp
from stackd.store.tables import Fence

log = logging.getLogger(__name__)

EPOCH_KEY = "/stackd-leader"
TTL = 15.0
"""Seconds after which a silent leader is replaced."""

LeaderTask = Callable[[Context], Awaitable[None]]
"""Work of the leader, run until cancelled; it commits with `context.fence`."""


class _Lost(Exception):
    """This manager does not lead any more."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Runs `tasks` while this manager leads. `manager` is its name, shown to others."""

    kv: KV
    manager: str
    context: Context
    tasks: tuple[LeaderTask, ...]

    async def run(self) -> NoReturn:
        """Campaign and lead, again and again, until cancelled. Raises only Corrupt; any other
        failure of a leader task ends the term, is logged, and a new term begins after a pause."""
        await forever("leader", self.context.clock, self._term)

    async def _term(self) -> None:
        lease = await self.kv.grant(TTL)
        try:
            fence = await self._campaign(lease)
            if fence is not None:
                log.info("leading, epoch %d", fence.revision)
                await self._lead(lease, fence)
        finally:
            await self._give_up(lease)

    async def _campaign(self, lease: int) -> Fence | None:
        """Take the epoch key, or wait until its holder is gone and return None."""
        result = await self.kv.txn(
            [Compare(EPOCH_KEY, 0)], [PutOp(EPOCH_KEY, self.manager.encode(), lease)]
        )
        if result.succeeded:
            return Fence(EPOCH_KEY, result.revision)
        await self.kv.revoke(lease)
        await self._vacant(result.revision)
        return None

    async def _vacant(self, revision: int) -> None:
        if await self.kv.get(EPOCH_KEY) is None:
            return
        try:
            async with aclosing(self.kv.watch(EPOCH_KEY, revision + 1)) as watch:
                async for batch in watch:
                    if any(event.item is None for event in batch.events):
                        return
        except Compacted:
            return

    async def _lead(self, lease: int, fence: Fence) -> None:
        context = replace(self.context, fence=fence)
        try:
            await together(self._keep(lease), *(_endless(task, context) for task in self.tasks))
        except _Lost:
            log.warning("no longer leading, epoch %d", fence.revision)

    async def _keep(self, lease: int) -> NoReturn:
        clock = self.context.clock
        heard = clock.now()
        while True:
            await clock.sleep(TTL / 3)
            try:
                await self.kv.keepalive(lease)
                heard = clock.now()
            except Conflict as error:
                raise _Lost from error
            except Unavailable as error:
                if clock.now() - heard >= TTL:
                    raise _Lost from error

    async def _give_up(self, lease: int) -> None:
        try:
            await self.kv.revoke(lease)
        except StackdError as error:
            log.warning("the leader lease could not be given back: %s", error.cause)


async def _endless(task: LeaderTask, context: Context) -> NoReturn:
    await task(context)
    raise AssertionError(f"leader task {task} ended by itself")
