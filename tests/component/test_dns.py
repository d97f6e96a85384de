"""The DNS server and its forwarding, over real sockets on loopback."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import cast

import dnslib
import pytest

from stackd.agent import resolvers
from stackd.agent.dns import DnsServer
from stackd.agent.resolvers import Resolvers, Upstream
from stackd.aio.tasks import Background
from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.driver import NetworkView
from stackd.core.model.ids import NetworkId, RevisionId, TaskId
from stackd.core.model.network import Network
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from tests.fakes.ports import free_port

HERE = NodeItem(id="n1", name="node1", index=1, address="192.0.2.1")
FRONT = Network(id=NetworkId("front001"), name="front", vni=1, subnet="10.1.0.0/24")
SECRET = Network(id=NetworkId("inner001"), name="inner", vni=2, subnet="10.2.0.0/24", internal=True)
FREE, LOCKED, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"


def attached(task: str, network: Network, address: str) -> AttachmentItem:
    return AttachmentItem(
        task=task,
        network=str(network.id),
        address=address,
        node="n1",
        stack="shop",
        service=task,
        slot="1",
    )


class Loopback:
    """A place for the server on loopback, where every task has an address of 127/8."""

    def __init__(self) -> None:
        self.view = NetworkView(
            HERE,
            (FRONT, SECRET),
            (attached("free", FRONT, FREE), attached("locked", SECRET, LOCKED)),
        )
        self.ports: dict[socket.SocketKind, int] = {}
        self.ready = asyncio.Event()

    async def listen(self, kind: socket.SocketKind, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        self.ports[kind] = made.getsockname()[1]
        if kind is socket.SOCK_STREAM:
            made.listen()
            self.ready.set()
        return made


class Outside(asyncio.DatagramProtocol):
    """A resolver that knows 192.0.2.80 by every name, and refuses to say so to some."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.mute = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dnslib.DNSRecord.parse(data)
        self.asked.append(str(query.q.qname))
        if not self.mute:
            self._transport.sendto(self.answer(data), addr)

    def answer(self, data: bytes) -> bytes:
        reply = dnslib.DNSRecord.parse(data).reply()
        reply.add_answer(dnslib.RR(reply.q.qname, 1, rdata=dnslib.A("192.0.2.80"), ttl=60))
        return bytes(reply.pack())


class Server:
    """The server under test with its outside."""

    def __init__(self, place: Loopback, outside: Outside, dns: DnsServer) -> None:
        self.place = place
        self.outside = outside
        self.dns = dns

    async def ask(self, source: str, name: str, kind: str = "A") -> dnslib.DNSRecord:
        return dnslib.DNSRecord.parse(
            await self.send(source, dnslib.DNSRecord.question(name, kind).pack())
        )

    async def send(self, source: str, data: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.setblocking(False)
            made.bind((source, 0))
            await loop.sock_connect(made, ("127.0.0.1", self.place.ports[socket.SOCK_DGRAM]))
            await loop.sock_sendall(made, data)
            return await asyncio.wait_for(loop.sock_recv(made, 4096), 10)

    async def ask_tcp(self, source: str, name: str) -> dnslib.DNSRecord:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.place.ports[socket.SOCK_STREAM], local_addr=(source, 0)
        )
        data = dnslib.DNSRecord.question(name).pack()
        writer.write(struct.pack("!H", len(data)) + data)
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        answer = await reader.readexactly(size)
        writer.close()
        await writer.wait_closed()
        return dnslib.DNSRecord.parse(answer)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    outside, place, background = Outside(), Loopback(), Background()
    port = free_port()  # one that the kernel gives to no client, of either kind
    local = ("127.0.0.1", port)
    transport, _ = await loop.create_datagram_endpoint(lambda: outside, local_addr=local)

    async def serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        answer = outside.answer(await reader.readexactly(size))
        writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    stream = await asyncio.start_server(serve_tcp, "127.0.0.1", port)
    dns = DnsServer(place, Resolvers((Upstream("127.0.0.1", port),)), 53)
    background.start(dns.run(), "dns")
    await place.ready.wait()
    try:
        yield Server(place, outside, dns)
    finally:
        await background.close()
        stream.close()
        transport.close()


def addresses(answer: dnslib.DNSRecord) -> list[str]:
    return sorted(str(record.rdata) for record in answer.rr)


def service(count: int) -> TrafficEntry:
    endpoints = tuple(
        Endpoint(
            task=TaskId(f"t{n}"),
            revision=RevisionId("r1"),
            node="n1",
            state=EndpointState.READY,
            addresses={"front001": f"10.1.0.{n + 40}"},
        )
        for n in range(count)
    )
    return TrafficEntry(
        stack="shop", service="web", vips={"front001": "10.1.0.9"}, endpoints=endpoints
    )


async def test_a_service_is_its_vip_and_its_tasks(server: Server) -> None:
    server.dns.services([service(2)])
    answer = await server.ask(FREE, "Web.")
    assert addresses(answer) == ["10.1.0.9"]
    assert answer.rr[0].ttl == 1
    assert addresses(await server.ask(FREE, "tasks.web")) == ["10.1.0.40", "10.1.0.41"]
    assert addresses(await server.ask_tcp(FREE, "shop_web")) == ["10.1.0.9"]
    assert addresses(await server.ask(FREE, "stackd.internal")) == ["10.1.0.1"]


async def test_other_types_of_a_known_name_are_empty_not_unknown(server: Server) -> None:
    server.dns.services([service(1)])
    answer = await server.ask(FREE, "web", "AAAA")
    assert (answer.header.rcode, answer.rr) == (dnslib.RCODE.NOERROR, [])


async def test_unknown_single_names_are_never_passed_on(server: Server) -> None:
    answer = await server.ask(FREE, "nosuch")
    assert (answer.header.rcode, server.outside.asked) == (dnslib.RCODE.NXDOMAIN, [])


async def test_the_outside_is_asked_by_udp_and_tcp(server: Server) -> None:
    assert addresses(await server.ask(FREE, "www.example.com")) == ["192.0.2.80"]
    assert addresses(await server.ask_tcp(FREE, "www.example.com")) == ["192.0.2.80"]
    assert server.outside.asked == ["www.example.com."]


async def test_internal_networks_do_not_reach_the_outside(server: Server) -> None:
    answer = await server.ask(LOCKED, "stolen.data.example.com")
    assert (answer.header.rcode, server.outside.asked) == (dnslib.RCODE.NXDOMAIN, [])


async def test_names_are_known_only_within_the_askers_networks(server: Server) -> None:
    server.dns.services([service(1)])
    assert (await server.ask(LOCKED, "web")).header.rcode == dnslib.RCODE.NXDOMAIN


async def test_strangers_are_refused(server: Server) -> None:
    for name in ("web", "www.example.com"):
        assert (await server.ask(STRANGER, name)).header.rcode == dnslib.RCODE.REFUSED
    assert server.outside.asked == []


async def test_a_task_that_is_attached_later_is_known_then(server: Server) -> None:
    server.dns.services([service(1)])
    view = server.place.view
    new = (*view.attachments, attached("late", FRONT, STRANGER))
    server.place.view = NetworkView(HERE, view.networks, new)
    assert addresses(await server.ask(STRANGER, "web")) == ["10.1.0.9"]


async def test_long_answers_are_cut_by_udp_and_whole_by_tcp(server: Server) -> None:
    server.dns.services([service(100)])
    cut = await server.ask(FREE, "tasks.web")
    assert (cut.header.tc, cut.rr) == (1, [])
    assert str(cut.q.qname) == "tasks.web."  # resolvers pass over an answer without its question
    assert len((await server.ask_tcp(FREE, "tasks.web")).rr) == 100


async def test_a_mute_resolver_is_a_failure_in_bounded_time(server: Server) -> None:
    server.outside.mute = True
    answer = await server.ask(FREE, "www.example.com")
    assert answer.header.rcode == dnslib.RCODE.SERVFAIL


async def test_one_task_cannot_use_up_the_forwarding(server: Server) -> None:
    server.outside.mute = True
    jobs = [asyncio.ensure_future(server.ask(FREE, f"{n}.example.com")) for n in range(80)]
    answers = await asyncio.gather(*jobs)
    assert {a.header.rcode for a in answers} == {dnslib.RCODE.SERVFAIL}
    assert len(server.outside.asked) == 64


async def test_rubbish_is_passed_over_and_the_server_goes_on(server: Server) -> None:
    question = bytes(dnslib.DNSRecord.question("stackd.internal").pack())
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.bind((FREE, 0))
        await loop.sock_connect(made, ("127.0.0.1", server.place.ports[socket.SOCK_DGRAM]))
        for junk in (b"", b"x", question[:9], b"\xff" * 40, question[:12] + b"\xc0\x0c" * 9):
            await loop.sock_sendall(made, junk)
    assert addresses(await server.ask(FREE, "stackd.internal")) == ["10.1.0.1"]


async def test_two_questions_at_once_are_refused(server: Server) -> None:
    record = dnslib.DNSRecord.question("web")
    record.add_question(dnslib.DNSQuestion("db"))
    answer = dnslib.DNSRecord.parse(await server.send(FREE, bytes(record.pack())))
    assert answer.header.rcode == dnslib.RCODE.FORMERR


def test_resolvers_are_read_from_resolv_conf() -> None:
    text = "# nameserver 1.1.1.1\nsearch x\nnameserver 192.0.2.1\nnameserver ::1 \n"
    assert resolvers.parse(text) == (Upstream("192.0.2.1"), Upstream("::1"))
