"""One direction-neutral end of a tunnel: bytes both ways with gRPC's own flow control.

A write returns when the transport has room, so nothing piles up between a fast and a slow side.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from stackd.errors import StackdError, Unavailable
from stackd.wire import errors
from stackd.wire.gen import agent_pb2

EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009  (its stubs do not know it)
Read = Callable[[], Awaitable[agent_pb2.Frame | None]]
Write = Callable[[agent_pb2.Frame], Awaitable[None]]


class Pipe:
    """Used by `manager.tunnels` and `agent.tunnels`. Not for two readers or two writers at once."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def send(self, value: bytes) -> None:
        """Raises Unavailable when the other side has gone."""
        await self._put(agent_pb2.Frame(value=value))

    async def end(self) -> None:
        """Nothing more comes this way."""
        await self._put(agent_pb2.Frame(end=True))

    async def fail(self, error: StackdError) -> None:
        """End the tunnel; the other side's `receive` raises this error."""
        await self._put(agent_pb2.Frame(failure=errors.to_failure(error)))

    async def receive(self) -> bytes | None:
        """The next value; None at the end. Raises what the other side failed with, or
        Unavailable when it has gone without saying so."""
        try:
            frame = await self._read()
        except (grpc.RpcError, grpc.aio.UsageError) as error:
            raise Unavailable("The tunnel was cut.") from error
        if frame is None:
            raise Unavailable("The tunnel was cut.")
        if frame.HasField("failure"):
            raise errors.from_failure(frame.failure)
        return None if frame.end else frame.value

    async def values(self) -> AsyncIterator[bytes]:
        """Every value up to the end."""
        while (value := await self.receive()) is not None:
            yield value

    async def _put(self, frame: agent_pb2.Frame) -> None:
        try:
            await self._write(frame)
        except (grpc.RpcError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise Unavailable("The tunnel was cut.") from error
