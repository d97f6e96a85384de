"""Tasks: several that stand and fall together, and those that belong to an object.

Everything else uses an asyncio.TaskGroup. `together` is called where the failure of one of
several tasks must reach the caller as itself; `Background` by drivers that must run something of
their own between their `open` and `close` (leases of a store, readers of a connection).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, NoReturn, TypeVar

from stackd.errors import Corrupt

log = logging.getLogger(__name__)
T = TypeVar("T")


async def together(*works: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    """Run endless works until one fails, end the others, and raise its own exception (Corrupt
    before any other)."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failed:
        raise _worst(failed) from failed
    raise AssertionError("endless works have ended")


async def attempt(work: Awaitable[T]) -> T:
    """Await `work` in a task of its own. For whoever goes on after a failure: a TaskGroup (before
    Python 3.13) raises only its tasks' errors when one fails in the very moment in which all are
    cancelled, and the cancelling is lost; here it is raised after `work` has ended."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()


def _worst(failed: ExceptionGroup[Exception]) -> Exception:
    corrupt, others = failed.split(Corrupt)
    found: Exception | None = corrupt or others
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    assert found is not None
    return found


class Background:
    """Tasks that end when their owner closes. A task that fails is logged, never lost."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run `work` until it ends or the owner closes."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task %s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel what runs and wait until all of it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
