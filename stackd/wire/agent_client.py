"""The agent's end: one connection to one manager, its session, blobs and tunnels."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from stackd.errors import Unavailable
from stackd.wire import errors, limits, tls
from stackd.wire.agent_server import Joined, Joiner
from stackd.wire.gen import agent_pb2
from stackd.wire.messages import AgentMessage, ManagerMessage, ManagerMessages, agent_frame
from stackd.wire.pipe import EOF, GONE, Pipe

DISPATCHER = "/stackd.v1.Dispatcher/"


class AgentLink:
    """One session, seen from the agent. One receiver at a time."""

    def __init__(self, call: Any, peer: str) -> None:
        self._call = call
        self._peer = peer
        self._messages = ManagerMessages()
        self._writing = asyncio.Lock()

    async def send(self, message: AgentMessage) -> None:
        """Raises Unavailable when the manager has gone, or what it refused the session with."""
        async with self._writing:  # gRPC takes one write at a time
            with _translated(self._peer):
                await self._call.write(agent_frame(message))

    async def receive(self) -> ManagerMessage:
        """The next message. Raises Unavailable when the manager has gone, or what it refused
        the session with."""
        while True:
            with _translated(self._peer):
                frame = await self._call.read()
            if frame is EOF:
                raise Unavailable(f"{self._peer} ended the session.")
            message = self._messages.take(frame)
            if message is not None:
                return message


class ManagerConnection:
    """A channel to one manager. Close it after use."""

    def __init__(self, address: str, identity: tls.Identity) -> None:
        self._peer = f"The manager at {address}"
        self._address = address
        options = (
            *limits.channel_options(),
            ("grpc.ssl_target_name_override", tls.MANAGER_NAME),
        )
        self._channel = grpc.aio.secure_channel(
            address, tls.channel_credentials(identity), options=options
        )

    async def close(self) -> None:
        """Cancel whatever is open."""
        await self._channel.close(None)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AgentLink]:
        """A session; leaving the context ends it. Raises Unavailable when nobody answers there."""
        await self._answers()
        rpc: Any = self._channel.stream_stream(
            DISPATCHER + "Session",
            agent_pb2.AgentMessage.SerializeToString,
            agent_pb2.ManagerMessage.FromString,
        )
        call = rpc()
        try:
            yield AgentLink(call, self._peer)
        finally:
            call.cancel()

    async def _answers(self) -> None:
        """Return once the address takes connections.

        A new attempt begins every KNOCK seconds beside those before: after a gap in the network
        the system would wait for up to 2 s before it asks again (RFC 6298).
        """
        host, _, port = self._address.rpartition(":")
        delays = [n * limits.KNOCK for n in range(int(limits.CONNECT_SECONDS / limits.KNOCK))]
        knocks = [asyncio.ensure_future(_knock(host, int(port), delay)) for delay in delays]
        try:
            async with asyncio.timeout(limits.CONNECT_SECONDS):
                done, _ = await asyncio.wait(knocks, return_when=asyncio.FIRST_COMPLETED)
            await done.pop()
        except OSError as error:  # TimeoutError is one
            raise Unavailable(f"{self._peer} cannot be reached.") from error
        finally:
            for knock in knocks:
                knock.cancel()
            await asyncio.gather(*knocks, return_exceptions=True)

    async def blob(self, digest: str) -> AsyncIterator[bytes]:
        """The blob in chunks, unverified."""
        rpc = self._channel.unary_stream(
            DISPATCHER + "Blob",
            agent_pb2.BlobRequest.SerializeToString,
            agent_pb2.Chunk.FromString,
        )
        call = rpc(agent_pb2.BlobRequest(digest=digest))
        try:
            with _translated(self._peer):
                async for chunk in call:
                    yield chunk.data
        finally:
            call.cancel()

    @contextlib.asynccontextmanager
    async def tunnel(self, tunnel: str) -> AsyncIterator[Pipe]:
        """Answer an OpenTunnel. The pipe ends in order when the context is left without error."""
        rpc: Any = self._channel.stream_stream(
            DISPATCHER + "Tunnel",
            agent_pb2.Frame.SerializeToString,
            agent_pb2.Frame.FromString,
        )
        call = rpc()

        async def read() -> agent_pb2.Frame | None:
            frame = await call.read()
            return None if frame is EOF else frame

        pipe = Pipe(read, call.write)
        try:
            with _translated(self._peer):
                await call.write(agent_pb2.Frame(tunnel=tunnel))
                yield pipe
                await call.done_writing()
                await pipe.drain()  # the other side has the last frame once it ends the call
        finally:
            pipe.close()
            call.cancel()


async def join(address: str, fingerprint: str, joiner: Joiner) -> Joined:
    """Become a member: the token is sent only after the authority is the one it names.

    `fingerprint`: SHA-256 of the authority's certificate in hex. Raises Refused or Unavailable.
    """
    authority = await tls.fetch_authority(address, fingerprint)
    options = (*limits.channel_options(), ("grpc.ssl_target_name_override", tls.MANAGER_NAME))
    credentials = grpc.ssl_channel_credentials(root_certificates=authority)
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        rpc = channel.unary_unary(
            "/stackd.v1.Enrol/Join",
            agent_pb2.JoinRequest.SerializeToString,
            agent_pb2.JoinReply.FromString,
        )
        request = agent_pb2.JoinRequest(
            token=joiner.token, csr=joiner.csr, name=joiner.name, address=joiner.address
        )
        with _translated(f"The manager at {address}"):
            reply = await rpc(request, timeout=30)
    return Joined(
        reply.node_id,
        reply.certificate,
        reply.authority,
        reply.cluster,
        tuple(reply.managers),
        reply.index,
    )


async def _knock(host: str, port: int, delay: float) -> None:
    """Connect after so many seconds, and hang up. Raises OSError."""
    await asyncio.sleep(delay)
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


@contextlib.contextmanager
def _translated(peer: str) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error, peer) from error
    except GONE as error:
        raise Unavailable(f"{peer} ended the session.") from error
