"""Writes what agents report into the store: without delay, and many at once.

What arrives while a commit runs forms the next batch. Run by `manager.dispatcher`.
"""

import asyncio
import logging

from stackd.core.model.record import Changes, Put
from stackd.core.model.task import TaskStatus
from stackd.core.orchestrate.reports import accepted
from stackd.errors import Conflict
from stackd.manager.loop import Context

_log = logging.getLogger(__name__)
PER_COMMIT = 40
"""A put is a comparison and an operation; with the fence this stays within a transaction."""


class Statuses:
    """The newest unsaved report of each task."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[str, TaskStatus]] = {}
        self._ready = asyncio.Event()

    def put(self, node: str, status: TaskStatus) -> None:
        """`node` (by its certificate) reports `status`. A report of another node's task must not
        push out the owner's: the key has the node in it. Nor may one of an earlier state push out
        what was reported since."""
        key = f"{node}/{status.id}"
        if key in self._pending and self._pending[key][1].state > status.state:
            return
        self._pending[key] = (node, status)
        self._ready.set()

    async def run(self, context: Context) -> None:
        """Write until cancelled. Raises Unavailable or Corrupt when the store fails; what was
        being written is kept for the next run."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            batch, self._pending = self._pending, {}
            keys = list(batch)
            parts = [keys[at : at + PER_COMMIT] for at in range(0, len(keys), PER_COMMIT)]
            outcomes = await asyncio.gather(
                *(self._write(context, [batch[key] for key in part]) for part in parts),
                return_exceptions=True,
            )
            failures = [found for found in outcomes if isinstance(found, BaseException)]
            for part, outcome in zip(parts, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    self._again({key: batch[key] for key in part})
            for failure in failures:
                if not isinstance(failure, Conflict):
                    raise failure

    def _again(self, batch: dict[str, tuple[str, TaskStatus]]) -> None:
        self._pending = {**batch, **self._pending}
        self._ready.set()

    async def _write(self, context: Context, batch: list[tuple[str, TaskStatus]]) -> None:
        world, now = context.tables.world, context.clock.now()
        taken = [accepted(world, node, said, now) for node, said in batch]
        changes = tuple(Put(record=status) for status in taken if status is not None)
        if changes:
            await context.tables.commit(Changes(changes=changes), context.fence)
