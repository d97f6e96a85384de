"""Serves `exec` and `logs` to a manager over a tunnel. The frames are those of the control API:
`ExecFrame` both ways, `LogPage` out. Called by `agent.session` for each OpenTunnel."""

import asyncio

from stackd.agent.drivers import ExecSession, Runtime
from stackd.core.model.api import ExecFrame, LogsRequest
from stackd.core.model.driver import ExecRequest, LogPage
from stackd.errors import Refused, StackdError, Unavailable
from stackd.wire import codec
from stackd.wire.agent_client import ManagerConnection
from stackd.wire.messages import OpenTunnel
from stackd.wire.pipe import Pipe


class Tunnels:
    """The tunnels of one agent."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def serve(self, connection: ManagerConnection, asked: OpenTunnel) -> None:
        """Open the tunnel and serve it to its end. Raises Unavailable when it is cut."""
        async with connection.tunnel(asked.id) as pipe:
            try:
                match asked.kind:
                    case "exec":
                        await self._exec(pipe, codec.decode(asked.request, ExecFrame))
                    case "logs":
                        await self._logs(pipe, codec.decode(asked.request, LogsRequest))
                    case kind:
                        raise Refused(f"This node does not know tunnels of kind {kind}.")
            except Unavailable:
                raise
            except StackdError as error:
                await pipe.fail(error)

    async def _logs(self, pipe: Pipe, asked: LogsRequest) -> None:
        """`asked.name` is a task id here. Lines go in pages: a frame for each would take longer
        than the task takes to write them."""
        pages = self._runtime.logs(
            asked.name, follow=asked.follow, tail=asked.tail, since=asked.since
        )
        async for lines in pages:
            await pipe.send(codec.encode(LogPage(lines=tuple(lines))))
        await pipe.end()

    async def _exec(self, pipe: Pipe, asked: ExecFrame) -> None:
        request = ExecRequest(
            task_id=asked.task,
            argv=asked.argv,
            tty=asked.tty,
            rows=asked.rows or 24,
            columns=asked.columns or 80,
        )
        session = await self._runtime.exec(request)
        answering = asyncio.ensure_future(_answer(pipe, session))
        caller = asyncio.ensure_future(_follow(pipe, session))
        both = (answering, caller)
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not answering.done():
                raise Unavailable("The caller of a command has gone.")
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
            await session.kill()


async def _answer(pipe: Pipe, session: ExecSession) -> None:
    """What the command says, then how it ended."""
    async for stream, data in session.output():
        await pipe.send(codec.encode(ExecFrame(stream=stream, data=data)))
    await pipe.send(codec.encode(ExecFrame(code=await session.code())))
    await pipe.end()


async def _follow(pipe: Pipe, session: ExecSession) -> None:
    """What the caller types, until the caller goes."""
    try:
        while True:
            value = await pipe.receive()
            frame = ExecFrame(end=True) if value is None else codec.decode(value, ExecFrame)
            if frame.rows and frame.columns:
                await session.resize(frame.rows, frame.columns)
            if frame.data:
                await session.write(frame.data)
            if frame.end:
                await session.write(b"")
    except Unavailable:
        return
