"""The control API on root's socket: the manager's side. Handlers are plain async functions over
typed structs; this module knows method names, encodings, errors and who is calling.

Called by `manager.serving`, which passes one `Method` per rpc of `schemas/rpc/control.proto`.
"""

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from stackd.errors import Refused, StackdError
from stackd.wire import codec, errors, limits
from stackd.wire.gen import control_pb2

SERVICE = "stackd.v1.Control"
ROOT_PRINCIPAL = "root@local"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and by which method."""

    principal: str
    method: str


Unary = Callable[[Any, Caller], Awaitable[Any]]
Stream = Callable[[Any, Caller], AsyncIterator[Any]]
Bidi = Callable[[AsyncIterator[Any], Caller], AsyncIterator[Any]]


@dataclass(frozen=True, slots=True)
class Method:
    """One rpc: the type of its requests and its handler, which fits the rpc's shape in the proto
    file: `Unary`, `Stream` (server streams) or `Bidi`."""

    request: type[Any]
    handler: Unary | Stream | Bidi


Permit = Callable[[str, str, str], None]
"""(principal, method, stack or ''): raises Refused."""


def method_shapes() -> Mapping[str, tuple[bool, bool]]:
    """Every rpc of the service -> (client streams, server streams), from the proto file."""
    service = control_pb2.DESCRIPTOR.services_by_name["Control"]
    return {m.name: (m.client_streaming, m.server_streaming) for m in service.methods}


class ControlServer:
    """Serves `methods` on a unix socket with mode 0600. Whoever can open it is root."""

    def __init__(self, methods: Mapping[str, Method], permit: Permit) -> None:
        unknown = methods.keys() - method_shapes().keys()
        if unknown:
            raise ValueError(f"not in control.proto: {', '.join(sorted(unknown))}")
        self._methods = methods
        self._permit = permit
        self._server = grpc.aio.server(
            options=limits.control_options(), maximum_concurrent_rpcs=limits.CONCURRENT_RPCS
        )
        handlers = {name: self._rpc(name, shape) for name, shape in method_shapes().items()}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )

    async def start(self, socket: Path) -> None:
        """Listen. A socket left by a dead process is replaced."""
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(socket.stat().st_mode):
                socket.unlink()
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        finally:
            os.umask(before)
        await self._server.start()

    async def stop(self, grace: float = 0.5) -> None:
        """Refuse new calls, give running ones `grace` seconds."""
        await self._server.stop(grace)

    def _rpc(self, name: str, shape: tuple[bool, bool]) -> Any:
        coding: dict[str, Any] = {
            "request_deserializer": control_pb2.Body.FromString,
            "response_serializer": control_pb2.Body.SerializeToString,
        }
        match shape:
            case (False, False):
                return grpc.unary_unary_rpc_method_handler(self._unary(name), **coding)
            case (False, True):
                return grpc.unary_stream_rpc_method_handler(self._stream(name), **coding)
            case (True, True):
                return grpc.stream_stream_rpc_method_handler(self._bidi(name), **coding)
            case _:
                raise AssertionError(f"{name}: no such shape in this API")

    def _enter(self, name: str) -> tuple[Method, Caller]:
        self._permit(ROOT_PRINCIPAL, name, "")
        method = self._methods.get(name)
        if method is None:
            raise Refused(f"{name} is not supported yet.")
        return method, Caller(ROOT_PRINCIPAL, name)

    def _unary(self, name: str) -> Callable[..., Awaitable[control_pb2.Body]]:
        async def serve(
            body: control_pb2.Body, context: grpc.aio.ServicerContext[Any, Any]
        ) -> control_pb2.Body:
            async with _reported(context, name):
                method, caller = self._enter(name)
                request = codec.decode(body.value, method.request)
                answer = await method.handler(request, caller)  # type: ignore[misc]
            return control_pb2.Body(value=codec.encode(answer))

        return serve

    def _stream(self, name: str) -> Callable[..., AsyncIterator[control_pb2.Body]]:
        async def serve(
            body: control_pb2.Body, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[control_pb2.Body]:
            async with _reported(context, name):
                method, caller = self._enter(name)
                request = codec.decode(body.value, method.request)
                async for answer in method.handler(request, caller):  # type: ignore[union-attr]
                    yield control_pb2.Body(value=codec.encode(answer))

        return serve

    def _bidi(self, name: str) -> Callable[..., AsyncIterator[control_pb2.Body]]:
        async def serve(
            bodies: AsyncIterator[control_pb2.Body], context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[control_pb2.Body]:
            try:
                with _own(name):
                    method, caller = self._enter(name)
                    requests = _decoded(bodies, method.request)
                    async for answer in method.handler(requests, caller):  # type: ignore[union-attr]
                        yield control_pb2.Body(value=codec.encode(answer))
            except StackdError as error:
                yield control_pb2.Body(failure=errors.to_failure(error))

        return serve


async def _decoded(bodies: AsyncIterator[control_pb2.Body], kind: type[Any]) -> AsyncIterator[Any]:
    async for body in bodies:
        yield codec.decode(body.value, kind)


@contextlib.asynccontextmanager
async def _reported(context: grpc.aio.ServicerContext[Any, Any], name: str) -> AsyncIterator[None]:
    """Turn what a handler raises into the RPC's status."""
    try:
        with _own(name):
            yield
    except StackdError as error:
        await errors.abort(context, error)


@contextlib.contextmanager
def _own(name: str) -> Iterator[None]:
    """Only errors of ours leave: a fault is logged and told without its text."""
    try:
        yield
    except (StackdError, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        _log.exception("%s failed", name)
        raise Refused(
            f"{name} failed inside the manager ({type(error).__name__}).", "See the manager's log."
        ) from error
