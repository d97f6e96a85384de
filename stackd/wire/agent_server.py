"""The manager's end of the agents' port: frames in, calls on a `Gateway` out.

The caller of every rpc is the member its certificate names. Started by `manager.serving`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc

from stackd.aio.clock import Clock, SystemClock
from stackd.errors import Refused, StackdError, Unavailable
from stackd.wire import errors, limits, tls
from stackd.wire.gen import agent_pb2
from stackd.wire.guard import Guard, address_of
from stackd.wire.messages import AgentMessage, ManagerMessage, agent_message, manager_frames
from stackd.wire.pipe import EOF, GONE, Pipe

_log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]


class Link:
    """One session, seen from the manager."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._writing = asyncio.Lock()

    async def receive(self) -> AgentMessage | None:
        """The agent's next message; None when it has gone. Raises Refused for what is none."""
        try:
            frame = await self._context.read()
        except GONE:
            return None
        return None if frame is EOF else agent_message(frame)

    async def send(self, message: ManagerMessage) -> None:
        """Raises Unavailable when the agent has gone."""
        async with self._writing:  # the parts of one assignment stay together
            try:
                for frame in manager_frames(message):
                    await self._context.write(frame)
            except GONE as error:
                raise Unavailable("The agent has gone.") from error


@dataclass(frozen=True, slots=True)
class Joiner:
    """Who wants to become a member."""

    token: str
    csr: bytes
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Joined:
    """A new member's papers, PEM."""

    node_id: str
    certificate: bytes
    authority: bytes
    cluster: str
    managers: tuple[str, ...] = ()
    index: int = 1
    """The node's number in the cluster."""


class Gateway(Protocol):
    """What the manager does for agents. `peer` is the URI of the caller's certificate. All raise
    StackdError, which the agent gets as such."""

    async def session(self, peer: str, link: Link) -> None:
        """Serve one session to its end."""
        ...

    async def blob(self, peer: str, digest: str) -> Path:
        """Where a blob is."""
        ...

    async def tunnel(self, peer: str, tunnel: str, pipe: Pipe) -> None:
        """Serve one tunnel to its end."""
        ...


Join = Callable[[Joiner], Awaitable[Joined]]


class AgentServer:
    """The port of the agents, mutual TLS."""

    def __init__(
        self, gateway: Gateway, identity: tls.Identity, clock: Clock | None = None
    ) -> None:
        self._gateway = gateway
        self._identity = identity
        self._guard = Guard(clock or SystemClock())
        self._server = grpc.aio.server(
            options=limits.agent_port_options(), maximum_concurrent_rpcs=limits.CONCURRENT_RPCS
        )
        handlers: dict[str, Any] = {
            "Session": grpc.stream_stream_rpc_method_handler(
                self._session,
                agent_pb2.AgentMessage.FromString,
                agent_pb2.ManagerMessage.SerializeToString,
            ),
            "Blob": grpc.unary_stream_rpc_method_handler(
                self._blob, agent_pb2.BlobRequest.FromString, agent_pb2.Chunk.SerializeToString
            ),
            "Tunnel": grpc.stream_stream_rpc_method_handler(
                self._tunnel, agent_pb2.Frame.FromString, agent_pb2.Frame.SerializeToString
            ),
        }
        generic = grpc.method_handlers_generic_handler("stackd.v1.Dispatcher", handlers)
        self._server.add_generic_rpc_handlers((generic,))

    async def start(self, address: str) -> int:
        """Listen on HOST:PORT (port 0: any) and return the port. Raises Unavailable if taken."""
        credentials = tls.server_credentials(self._identity, mutual=True)
        return await _listen(self._server, address, credentials)

    async def stop(self, grace: float = 0.2) -> None:
        """Close every session; agents come back by themselves."""
        await self._server.stop(grace)

    async def _session(self, _: object, context: Context) -> None:
        async with _reported(context):
            peer = tls.peer_uri(context)
            self._guard.session(peer)
            await self._gateway.session(peer, Link(context))

    async def _blob(
        self, request: agent_pb2.BlobRequest, context: Context
    ) -> AsyncIterator[agent_pb2.Chunk]:
        async with _reported(context):
            peer = tls.peer_uri(context)
            self._guard.call(peer)
            path = await self._gateway.blob(peer, request.digest)
            with path.open("rb") as file:
                while data := await asyncio.to_thread(file.read, limits.CHUNK_BYTES):
                    yield agent_pb2.Chunk(data=data)

    async def _tunnel(self, _: object, context: Context) -> None:
        async def read() -> agent_pb2.Frame | None:
            frame = await context.read()
            return None if frame is EOF else frame

        async with _reported(context):
            peer = tls.peer_uri(context)
            self._guard.call(peer)
            first = await read()
            if first is None:
                raise Refused("A tunnel without a first frame.")
            pipe = Pipe(read, context.write)
            try:
                await self._gateway.tunnel(peer, first.tunnel, pipe)
            finally:
                pipe.close()


class EnrolServer:
    """The port of the joiners: the server shows its certificate and asks for none."""

    def __init__(self, join: Join, identity: tls.Identity, clock: Clock | None = None) -> None:
        self._join = join
        self._guard = Guard(clock or SystemClock())
        chain = identity.certificate
        if identity.authority.strip() not in chain:  # a joiner finds the authority in the chain
            chain = chain.rstrip() + b"\n" + identity.authority
        self._identity = tls.Identity(chain, identity.key, identity.authority)
        self._server = grpc.aio.server(
            options=limits.joiner_port_options(),
            maximum_concurrent_rpcs=limits.STREAMS_PER_CONNECTION,
        )
        handler = grpc.unary_unary_rpc_method_handler(
            self._serve, agent_pb2.JoinRequest.FromString, agent_pb2.JoinReply.SerializeToString
        )
        generic = grpc.method_handlers_generic_handler("stackd.v1.Enrol", {"Join": handler})
        self._server.add_generic_rpc_handlers((generic,))

    async def start(self, address: str) -> int:
        """As `AgentServer.start`."""
        credentials = tls.server_credentials(self._identity, mutual=False)
        return await _listen(self._server, address, credentials)

    async def stop(self) -> None:
        """Close the port."""
        await self._server.stop(0)

    async def _serve(self, request: agent_pb2.JoinRequest, context: Context) -> agent_pb2.JoinReply:
        async with _reported(context):
            joined = await self._admit(
                Joiner(request.token, request.csr, request.name, request.address),
                address_of(context.peer()),
            )
            return agent_pb2.JoinReply(
                node_id=joined.node_id,
                certificate=joined.certificate,
                authority=joined.authority,
                cluster=joined.cluster,
                managers=joined.managers,
                index=joined.index,
            )

    async def _admit(self, joiner: Joiner, address: str) -> Joined:
        """Guesses are bounded for each address, before the token is looked at."""
        self._guard.before_join(address)
        try:
            return await self._join(joiner)
        except Refused:
            self._guard.join_refused(address)
            raise


async def _listen(
    server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials
) -> int:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise Unavailable(
            f"{address} cannot be listened on.", "See what holds it with `ss -ltnp`."
        ) from error
    await server.start()
    return port


@contextlib.asynccontextmanager
async def _reported(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except StackdError as error:
        await errors.abort(context, error)
    except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        _log.exception("serving an agent failed")
        fault = Unavailable(f"The manager failed ({type(error).__name__}).")
        await errors.abort(context, fault)
