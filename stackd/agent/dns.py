"""The DNS server that tasks ask, at the gateway address of their network on this node.

Answers from `core.network.names`; who asks is known by the source address, which the data plane
lets nobody forge. Names of the outside are passed on to the host's resolvers, bounded in number
and time. Told of services by `agent.traffic`; networks it reads from the node's network.
"""

import asyncio
import logging
import random
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import dnslib

from stackd.agent import resolvers
from stackd.agent.askers import Askers, Place
from stackd.agent.resolvers import Resolvers
from stackd.aio.tasks import Background
from stackd.core.model.traffic import TrafficEntry
from stackd.core.network.names import Asker, NameTable, Outcome
from stackd.errors import Unavailable

_log = logging.getLogger(__name__)

PORT = 53
TTL = 1
MOST_FORWARDED = 512
MOST_PER_TASK = 64
_PLAIN_UDP, _MOST_UDP, _MOST_TCP = 512, 1232, 65535
_CUT = 0x02
_ANSWER = struct.pack("!HHHLH", 0xC00C, dnslib.QTYPE.A, 1, TTL, 4)
"""Of the name in the question, at offset 12: an address follows."""
_ADDRESS_BYTES = len(_ANSWER) + 4
_TCP_IDLE = 10.0
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class _Reply:
    """`head` holds the question and no answers. The answers are packed here, because a service of
    hundreds of tasks is asked for often."""

    head: "dnslib.DNSRecord"
    largest: int
    """Bytes that the asker takes by UDP."""
    addresses: Sequence[str] = ()

    def packed(self, limit: int) -> bytes:
        """Cut, with a sign to ask by TCP, when it is larger than `limit`. The question stays, or
        resolvers take it for an answer to something else."""
        packed = bytearray(self.head.pack())
        count = len(self.addresses)
        if len(packed) + count * _ADDRESS_BYTES > limit:
            packed[2] |= _CUT
            return bytes(packed)
        struct.pack_into("!H", packed, 6, count)
        return bytes(packed) + b"".join(_ANSWER + socket.inet_aton(a) for a in self.addresses)


class DnsServer:
    """`run` all along; `services` whenever the traffic entries change."""

    def __init__(self, place: Place, upstream: Resolvers | None = None, port: int = PORT) -> None:
        """`upstream`: None = those of the host's /etc/resolv.conf, read when needed."""
        self._place = place
        self._upstream = resolvers.of_host() if upstream is None else upstream
        self._port = port
        self._table = NameTable()
        self._askers = Askers(place)
        self._forwarding: Counter[str] = Counter()
        self._background = Background()

    def services(self, entries: Sequence[TrafficEntry]) -> None:
        """Know exactly these services from now on."""
        self._table.replace(entries)

    async def run(self) -> None:
        """Serve until cancelled. Raises Unavailable when the port cannot be had."""
        udp = await self._place.listen(socket.SOCK_DGRAM, self._port)
        tcp = await self._place.listen(socket.SOCK_STREAM, self._port)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), sock=udp)
        server = await asyncio.start_server(self._serve_tcp, sock=tcp)
        try:
            await asyncio.Event().wait()
        finally:
            transport.close()
            server.close()
            await self._background.close()

    def receive(
        self, data: bytes, peer: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        """One question by UDP."""
        answer = self._answer(data, peer[0])
        if answer is None:
            return
        if isinstance(answer, _Reply):
            transport.sendto(answer.packed(answer.largest), peer)
            return
        if not self._room(peer[0]):
            transport.sendto(_failure(data, dnslib.RCODE.SERVFAIL), peer)
            return

        async def pass_on() -> None:
            transport.sendto(await self._forward(data, peer[0], stream=False), peer)

        self._background.start(pass_on(), "dns")

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str(writer.get_extra_info("peername")[0])
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    size = struct.unpack("!H", await reader.readexactly(2))[0]
                    data = await reader.readexactly(size)
                answer = self._answer(data, peer)
                if answer is None:
                    return
                if isinstance(answer, _Reply):
                    packed = answer.packed(_MOST_TCP)
                elif self._room(peer):
                    packed = await self._forward(data, peer, stream=True)
                else:
                    packed = _failure(data, dnslib.RCODE.SERVFAIL)
                writer.write(struct.pack("!H", len(packed)) + packed)
                await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            return
        finally:
            writer.close()

    def _answer(self, data: bytes, address: str) -> "_Reply | Outcome | None":
        """The reply; ELSEWHERE to pass it on; None when it is not a question at all."""
        if len(data) > _LONGEST:
            return None
        try:
            query = dnslib.DNSRecord.parse(data)
        except (dnslib.DNSError, ValueError, struct.error):
            return None
        if query.header.qr:
            return None
        reply = query.reply()
        reply.header.ra = 1
        asker = self._askers.at(address)
        if query.header.opcode != 0:
            reply.header.rcode = dnslib.RCODE.NOTIMP
        elif len(query.questions) != 1:
            reply.header.rcode = dnslib.RCODE.FORMERR
        elif asker is None:
            reply.header.rcode = dnslib.RCODE.REFUSED
        else:
            return self._resolve(asker, query, reply)
        return _Reply(reply, _largest(query))

    def _resolve(
        self, asker: Asker, query: "dnslib.DNSRecord", reply: "dnslib.DNSRecord"
    ) -> "_Reply | Outcome":
        resolution = self._table.resolve(asker, str(query.q.qname))
        if resolution.outcome is Outcome.ELSEWHERE:
            return resolution.outcome
        reply.header.aa = 1
        if resolution.outcome is Outcome.UNKNOWN:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        elif query.q.qtype in (dnslib.QTYPE.A, dnslib.QTYPE.ANY):
            addresses = list(resolution.addresses)
            random.shuffle(addresses)
            return _Reply(reply, _largest(query), addresses)
        return _Reply(reply, _largest(query))

    def _room(self, address: str) -> bool:
        total = self._forwarding.total() < MOST_FORWARDED
        return total and self._forwarding[address] < MOST_PER_TASK

    async def _forward(self, data: bytes, address: str, *, stream: bool) -> bytes:
        self._forwarding[address] += 1
        try:
            return await self._upstream.ask(data, stream=stream)
        except Unavailable as error:
            _log.info("dns: %s", error.cause)
            return _failure(data, dnslib.RCODE.SERVFAIL)
        finally:
            self._forwarding[address] -= 1
            if not self._forwarding[address]:
                del self._forwarding[address]


class _Udp(asyncio.DatagramProtocol):
    """Hands datagrams to the server."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._server.receive(data, addr, self._transport)


def _largest(query: "dnslib.DNSRecord") -> int:
    limit = _PLAIN_UDP
    for extra in query.ar:
        if extra.rtype == dnslib.QTYPE.OPT:
            limit = max(limit, min(extra.edns_len, _MOST_UDP))
    return limit


def _failure(data: bytes, code: int) -> bytes:
    reply = dnslib.DNSRecord.parse(data).reply()
    reply.header.rcode, reply.header.ra = code, 1
    return bytes(reply.pack())
