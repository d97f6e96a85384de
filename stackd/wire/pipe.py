"""One direction-neutral end of a tunnel: bytes both ways with gRPC's own flow control.

A write returns when the transport has room, so nothing piles up between a fast and a slow side.
Giving up a wait for the next frame must not end the tunnel, which is what gRPC makes of a read
that is cancelled: a pipe's read goes on, and the next `receive` gets what it brought.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import grpc

from stackd.errors import StackdError, Unavailable
from stackd.wire import errors
from stackd.wire.gen import agent_pb2

EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009  (its stubs do not know it)
GONE = (
    grpc.RpcError,
    grpc.aio.UsageError,
    grpc.aio.InternalError,
    asyncio.InvalidStateError,  # a call that has ended meanwhile
)
"""What gRPC raises on a call whose other side has gone."""
Read = Callable[[], Coroutine[Any, Any, agent_pb2.Frame | None]]
Write = Callable[[agent_pb2.Frame], Awaitable[None]]


class Pipe:
    """Used by `manager.tunnels` and `agent.tunnels`. Not for two readers or two writers at once."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write
        self._reading: asyncio.Future[agent_pb2.Frame | None] | None = None

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
        Unavailable when it has gone without saying so. May be cancelled."""
        try:
            frame = await self._next()
        except GONE as error:
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

    async def drain(self) -> None:
        """Read on, dropping what comes, until the other side ends the call; then it has all that
        was sent. Raises what gRPC raises."""
        while await self._next() is not None:
            pass

    def close(self) -> None:
        """Nobody receives any more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _next(self) -> agent_pb2.Frame | None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(_seen)
        reading = self._reading
        await asyncio.wait((reading,))
        self._reading = None
        return reading.result()

    async def _put(self, frame: agent_pb2.Frame) -> None:
        try:
            await self._write(frame)
        except GONE as error:
            raise Unavailable("The tunnel was cut.") from error


def _seen(reading: "asyncio.Future[agent_pb2.Frame | None]") -> None:
    """How a read ended concerns nobody when nobody receives any more."""
    if not reading.cancelled():
        reading.exception()
