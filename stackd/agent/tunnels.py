"""Serves `exec` and `logs` to a manager over a tunnel. The frames are those of the control API:
`ExecFrame` both ways, `LogLine` out. Called by `agent.session` for each OpenTunnel."""

import asyncio
import contextlib

from stackd.agent.drivers import ExecSession, Runtime
from stackd.core.model.api import ExecFrame, LogsRequest
from stackd.core.model.driver import ExecRequest
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
        """`asked.name` is a task id here."""
        lines = self._runtime.logs(
            asked.name, follow=asked.follow, tail=asked.tail, since=asked.since
        )
        async for line in lines:
            await pipe.send(codec.encode(line))
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
        async with asyncio.TaskGroup() as group:
            stdin = group.create_task(_stdin(pipe, session))
            async for stream, data in session.output():
                await pipe.send(codec.encode(ExecFrame(stream=stream, data=data)))
            await pipe.send(codec.encode(ExecFrame(code=await session.code())))
            await pipe.end()
            stdin.cancel()


async def _stdin(pipe: Pipe, session: ExecSession) -> None:
    """What the caller types. When the caller goes, the command sees the end of its stdin."""
    with contextlib.suppress(Unavailable):
        async for value in pipe.values():
            frame = codec.decode(value, ExecFrame)
            if frame.rows and frame.columns:
                await session.resize(frame.rows, frame.columns)
            if frame.data:
                await session.write(frame.data)
            if frame.end:
                await session.write(b"")
        return
    await session.write(b"")
