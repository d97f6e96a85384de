"""The control API from the command line's side: typed calls that raise the manager's own errors."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from stackd.errors import Unavailable
from stackd.wire import codec, errors, limits
from stackd.wire.control import SERVICE
from stackd.wire.gen import control_pb2

T = TypeVar("T")
PEER = "The manager"
PROBE_SECONDS = 1.0


def listens(path: Path) -> bool:
    """Whether somebody takes connections on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


class ControlClient:
    """`async with ControlClient(socket) as client: await client.call(...)`.

    Every method raises what the manager raised, or Unavailable when there is none.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        if not self._socket.exists():
            raise Unavailable(
                f"No cluster runs here: there is no {self._socket}.", "Start one with `stackd up`."
            )
        self._channel = grpc.aio.insecure_channel(
            f"unix:{self._socket}", options=limits.control_options()
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            await self._channel.close(None)

    async def call(
        self, method: str, request: object, reply: type[T], timeout: float | None = None
    ) -> T:
        """One request, one answer. `timeout` in seconds."""
        rpc = self._open().unary_unary(_path(method), _encode, _decode)
        with _translated():
            body = await rpc(_body(request), timeout=timeout)
        return codec.decode(body.value, reply)

    async def stream(
        self, method: str, request: object, reply: type[T], timeout: float | None = None
    ) -> AsyncIterator[T]:
        """One request, many answers. Close the iterator to stop."""
        rpc = self._open().unary_stream(_path(method), _encode, _decode)
        call = rpc(_body(request), timeout=timeout)
        try:
            with _translated():
                async for body in call:
                    yield codec.decode(body.value, reply)
        finally:
            call.cancel()

    async def bidi(
        self, method: str, requests: AsyncIterator[object], reply: type[T]
    ) -> AsyncIterator[T]:
        """Many both ways."""

        async def bodies() -> AsyncIterator[control_pb2.Body]:
            async for request in requests:
                yield _body(request)

        call = self._open().stream_stream(_path(method), _encode, _decode)(bodies())
        try:
            with _translated():
                async for body in call:
                    if body.HasField("failure"):
                        raise errors.from_failure(body.failure)
                    yield codec.decode(body.value, reply)
        finally:
            call.cancel()

    def _open(self) -> grpc.aio.Channel:
        assert self._channel is not None, "use it as `async with`"
        return self._channel


def _path(method: str) -> str:
    return f"/{SERVICE}/{method}"


def _body(request: object) -> control_pb2.Body:
    return control_pb2.Body(value=codec.encode(request))


def _encode(body: control_pb2.Body) -> bytes:
    return body.SerializeToString()


def _decode(data: bytes) -> control_pb2.Body:
    return control_pb2.Body.FromString(data)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, PEER) from error
