"""What tasks say and do: `logs` and `exec`, carried through a tunnel to the task's node."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from stackd.core.model.api import ExecFrame, LogRow, LogRows, LogsRequest
from stackd.core.model.driver import LogLine, LogPage
from stackd.core.model.world import TaskView
from stackd.errors import Refused, StackdError, Unavailable
from stackd.manager.api import names
from stackd.manager.dispatcher import Dispatcher
from stackd.store.tables import Tables
from stackd.wire import codec
from stackd.wire.control import Caller
from stackd.wire.pipe import Pipe

KEPT = 5
"""Finished tasks of each slot whose logs are kept by the node."""
END = None
PAGES = 16
"""What may wait for a slow reader of `logs --follow`."""


class OutputApi:
    """Handlers about the output and input of tasks."""

    def __init__(self, tables: Tables, dispatcher: Dispatcher) -> None:
        self._tables = tables
        self._dispatcher = dispatcher

    async def logs(self, request: LogsRequest, caller: Caller) -> AsyncIterator[LogRows]:
        """Lines of all tasks meant by the name. Without `follow` one task after the other;
        with it, as they come."""
        world = self._tables.world
        found = [t for t in names.tasks_named(world, request.name) if t.task.node]
        found.sort(key=lambda t: (t.task.created, t.task.id))
        if not request.follow:
            for view in found:
                async for rows in self._of(view, request):
                    yield rows
            return
        live = [t for t in found if t.live]
        async for rows in self._together(live or found[-1:], request):
            yield rows

    async def _of(self, view: TaskView, request: LogsRequest) -> AsyncIterator[LogRows]:
        asked = msgspec.structs.replace(request, name=view.task.id)
        name = names.task_name(self._tables.world, view)
        async with self._dispatcher.open_tunnel(
            view.task.node, "logs", codec.encode(asked)
        ) as pipe:
            async for value in pipe.values():
                page = codec.decode(value, LogPage)
                yield LogRows(rows=tuple(_row(view, name, line) for line in page.lines))

    async def _together(
        self, views: list[TaskView], request: LogsRequest
    ) -> AsyncIterator[LogRows]:
        found: asyncio.Queue[LogRows | None] = asyncio.Queue(PAGES)

        async def feed(view: TaskView) -> None:
            try:
                async for rows in self._of(view, request):
                    await found.put(rows)
            except StackdError:
                pass  # the task or its node has gone; the others go on
            finally:
                await found.put(END)

        async with asyncio.TaskGroup() as group:
            feeders = [group.create_task(feed(view)) for view in views]
            left = len(feeders)
            try:
                while left:
                    rows = await found.get()
                    if rows is None:
                        left -= 1
                    else:
                        yield rows
            finally:
                for feeder in feeders:
                    feeder.cancel()

    async def exec(
        self, frames: AsyncIterator[ExecFrame], caller: Caller
    ) -> AsyncIterator[ExecFrame]:
        """Run a command in a task: the first frame names it."""
        first = await anext(frames, None)
        if first is None or not first.argv:
            raise Refused("There is no command to run.", "Example: stackd exec shop/web.1 -- sh")
        view = names.task_of(self._tables.world, first.task)
        if view.status.state.label != "running":
            raise Refused(
                f"{first.task} is {view.status.state.label}, not running.",
                f"See: stackd why {first.task}",
            )
        asked = msgspec.structs.replace(first, task=view.task.id)
        async with self._dispatcher.open_tunnel(
            view.task.node, "exec", codec.encode(asked)
        ) as pipe:
            sender = asyncio.ensure_future(_send(frames, pipe))
            try:
                async for value in pipe.values():
                    yield codec.decode(value, ExecFrame)
            finally:
                sender.cancel()


def _row(view: TaskView, name: str, line: LogLine) -> LogRow:
    return LogRow(
        task=view.task.id,
        name=name,
        at=line.at,
        stream=line.stream,
        text=line.text,
        partial=line.partial,
    )


async def _send(frames: AsyncIterator[ExecFrame], pipe: Pipe) -> None:
    try:
        async for frame in frames:
            await pipe.send(codec.encode(frame))
        await pipe.end()
    except Unavailable:
        return  # the command has ended; its last frame tells how
