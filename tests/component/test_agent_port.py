"""Who gets through the agents' port, and who does not."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from stackd.aio.clock import SystemClock
from stackd.aio.ids import fresh_ids
from stackd.core.model.node import Node, Role
from stackd.errors import Refused, StackdError, Unavailable
from stackd.manager.certificates import Authority, Membership
from stackd.manager.loop import Context
from stackd.pki import authority as pki_authority
from stackd.pki import token as pki_token
from stackd.pki.authority import ServerNames
from stackd.pki.member import Member, member_of
from stackd.pki.request import new_key, new_request
from stackd.store.tables import Tables
from stackd.wire import agent_client, guard, limits, tls
from stackd.wire.agent_client import ManagerConnection
from stackd.wire.agent_server import EnrolServer, Joiner
from stackd.wire.gen import agent_pb2
from stackd.wire.messages import Hello, Statuses, Welcome
from tests.component import cluster
from tests.component.cluster import Manager
from tests.fakes.authority import FakeAuthority, uri
from tests.fakes.store import FakeStore


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    made = Manager(FakeStore(SystemClock()), FakeAuthority(), tmp_path)
    async with made.running():
        await made.write(cluster.member("n1"))
        yield made


async def refusal(manager: Manager, identity: tls.Identity, node: str = "n1") -> StackdError:
    connection = ManagerConnection(manager.address, identity)
    try:
        async with connection.session() as link:
            try:
                await link.send(Hello(node))
                await link.receive()
            except StackdError as error:
                return error
        raise AssertionError("it was let in")
    finally:
        await connection.close()


async def test_good_certificate(manager: Manager) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n1"))
    async with connection.session() as link:
        await link.send(Hello("n1"))
        assert isinstance(await link.receive(), Welcome)
    await connection.close()


async def test_nobody_at_the_address(manager: Manager) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        connection = ManagerConnection(
            f"127.0.0.1:{closed.getsockname()[1]}", manager.authority.node("n1")
        )
        with pytest.raises(Unavailable, match="cannot be reached"):
            async with connection.session():
                raise AssertionError("somebody answered")
        await connection.close()


def waiting(port: int) -> int:
    """Connections to this port whose first packet has had no answer (SYN_SENT)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


async def test_a_manager_that_cannot_be_reached_is_asked_again_and_again(manager: Manager) -> None:
    """The system alone would ask again after 1, 2 and 4 s, and so lengthen a gap by as much."""
    identity = manager.authority.node("n1")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        queued = [socket.create_connection(("127.0.0.1", port))]  # what comes then is dropped
        connection = ManagerConnection(f"127.0.0.1:{port}", identity)

        async def attempt() -> None:
            async with connection.session():
                pass

        async with asyncio.TaskGroup() as group:
            attempts = group.create_task(attempt())
            await cluster.until(lambda: waiting(port) >= 3)
            full.settimeout(0.1)
            while not attempts.done():
                with contextlib.suppress(TimeoutError):
                    queued.append((await asyncio.to_thread(full.accept))[0])
        for one in queued:
            one.close()
        await connection.close()
        await cluster.until(lambda: waiting(port) == 0)


async def test_certificate_of_another_authority(manager: Manager) -> None:
    other = FakeAuthority().node("n1")
    stolen = tls.Identity(other.certificate, other.key, manager.authority.pem)
    assert isinstance(await refusal(manager, stolen), Unavailable)


async def test_expired_certificate(manager: Manager) -> None:
    expired = manager.authority.identity((uri("n1"),), expired=True)
    assert isinstance(await refusal(manager, expired), Unavailable)


async def test_certificate_for_servers_only(manager: Manager) -> None:
    server = manager.authority.identity((uri("n1"),), server=True)
    assert isinstance(await refusal(manager, server), Unavailable)


@pytest.mark.parametrize(
    "uris", [(), (uri("n1"), uri("n2")), ("https://example.com/",)], ids=["none", "two", "foreign"]
)
async def test_certificate_that_names_no_node(manager: Manager, uris: tuple[str, ...]) -> None:
    assert isinstance(await refusal(manager, manager.authority.identity(uris)), Refused)


async def test_node_that_is_no_member(manager: Manager) -> None:
    error = await refusal(manager, manager.authority.node("n9"), "n9")
    assert "not a member" in str(error)


async def test_greeting_in_anothers_name(manager: Manager) -> None:
    await manager.write(cluster.member("n2", 2))
    error = await refusal(manager, manager.authority.node("n2"), "n1")
    assert "the greeting of another" in str(error)


async def test_session_must_begin_with_a_greeting(manager: Manager) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n1"))
    async with connection.session() as link:
        await link.send(Statuses(()))
        with pytest.raises(Refused, match="begins with a greeting"):
            await link.receive()
    await connection.close()


def handshake(manager: Manager, context: ssl.SSLContext) -> str:
    """What a bare TLS client gets: the version if the server then speaks HTTP/2 to it, else ''."""
    context.load_verify_locations(cadata=manager.authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(("127.0.0.1", manager.port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname=tls.MANAGER_NAME) as wrapped:
                return (wrapped.version() or "") if wrapped.recv(9) else ""
    except (ssl.SSLError, ConnectionError):
        return ""


async def test_no_client_certificate(manager: Manager) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert await asyncio.to_thread(handshake, manager, context) == ""


@pytest.mark.parametrize(("version", "got"), [("TLSv1_3", "TLSv1.3"), ("TLSv1_2", "")])
async def test_only_tls_1_3(manager: Manager, tmp_path: Path, version: str, got: str) -> None:
    node = manager.authority.node("n1")
    pem = tmp_path / "node.pem"
    pem.write_bytes(node.certificate + node.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion[version]
    context.load_cert_chain(pem)
    assert await asyncio.to_thread(handshake, manager, context) == got


async def test_manager_of_another_cluster_is_not_believed(manager: Manager) -> None:
    node = manager.authority.node("n1")
    foreign = tls.Identity(node.certificate, node.key, FakeAuthority().pem)
    assert isinstance(await refusal(manager, foreign), Unavailable)


async def code_of(manager: Manager, method: str, payload: bytes) -> grpc.StatusCode:
    """What a raw call of a node gets."""
    options = (*limits.channel_options(), ("grpc.ssl_target_name_override", tls.MANAGER_NAME))
    credentials = tls.channel_credentials(manager.authority.node("n1"))
    raw = (*options, ("grpc.max_send_message_length", -1))
    async with grpc.aio.secure_channel(manager.address, credentials, options=raw) as channel:
        rpc = channel.unary_unary(method, lambda data: data, lambda data: data)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(payload, timeout=10)
    return caught.value.code()


async def test_manager_methods_are_not_there_for_nodes(manager: Manager) -> None:
    for method in ("/stackd.v1.Control/Apply", "/stackd.v1.Enrol/Join", "/x", "/a/b/c"):
        assert await code_of(manager, method, b"") is grpc.StatusCode.UNIMPLEMENTED


async def test_message_above_the_limit(manager: Manager) -> None:
    payload = agent_pb2.BlobRequest(digest="x" * (5 * 1024 * 1024)).SerializeToString()
    found = await code_of(manager, "/stackd.v1.Dispatcher/Blob", payload)
    assert found is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_tunnel_nobody_waits_for(manager: Manager) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n1"))
    with pytest.raises(Unavailable, match="The tunnel was cut"):
        async with connection.tunnel("guess") as pipe:
            await pipe.receive()
    await connection.close()


class Enrolment:
    """The enrolment port with the real authority and tokens."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.authority = pki_authority.create("c1", self.clock.now())
        self.secrets = {role: pki_token.new_secret() for role in Role}
        self.tables = Tables(FakeStore(self.clock), self.clock)

    def token(self, role: Role, fingerprint: str = "") -> str:
        mark = fingerprint or self.authority.fingerprint
        return pki_token.Token(mark, self.secrets[role]).text()

    def identity(self) -> tls.Identity:
        key = new_key()
        member = Member("c1", Role.MANAGER, "m1")
        names = ServerNames(dns=(tls.MANAGER_NAME,))
        certificate = self.authority.sign(new_request(key), member, self.clock.now(), names)
        return tls.Identity(certificate, key, self.authority.certificate)

    def membership(self) -> Membership:
        def role_of(text: str) -> Role:
            return pki_token.role_of(text, self.authority.fingerprint, self.secrets)

        def sign(request: bytes, node: str, role: Role) -> bytes:
            return self.authority.sign(request, Member("c1", role, node), self.clock.now())

        context = Context(self.tables, self.clock, fresh_ids(self.clock))
        papers = Authority(role_of, sign, self.authority.certificate)
        return Membership(context, papers, "c1")


@pytest.fixture
async def enrolment() -> AsyncIterator[tuple[Enrolment, str]]:
    made = Enrolment()
    await made.tables.open()
    server = EnrolServer(made.membership().join, made.identity())
    port = await server.start("127.0.0.1:0")
    async with cluster.background(made.tables.run()):
        yield made, f"127.0.0.1:{port}"
    await server.stop()


async def test_join(enrolment: tuple[Enrolment, str]) -> None:
    made, address = enrolment
    for name, index in (("web", 1), ("web-2", 2)):
        key = new_key()
        joiner = Joiner(made.token(Role.WORKER), new_request(key), "web", "192.0.2.1")
        joined = await agent_client.join(address, made.authority.fingerprint, joiner)
        assert member_of(joined.certificate) == Member("c1", Role.WORKER, joined.node_id)
        assert joined.authority == made.authority.certificate
        node = made.tables.world.get(Node, joined.node_id)
        assert node is not None
        assert (node.name, node.index, node.role) == (name, index, Role.WORKER)


async def test_joining_at_once(enrolment: tuple[Enrolment, str]) -> None:
    made, address = enrolment

    async def join() -> int:
        joiner = Joiner(made.token(Role.WORKER), new_request(new_key()), "web", "192.0.2.1")
        joined = await agent_client.join(address, made.authority.fingerprint, joiner)
        return joined.index

    assert sorted(await asyncio.gather(*(join() for _ in range(5)))) == [1, 2, 3, 4, 5]
    names = {node.name for node in made.tables.world.all(Node)}
    assert names == {"web", "web-2", "web-3", "web-4", "web-5"}


async def test_join_with_a_wrong_secret(enrolment: tuple[Enrolment, str]) -> None:
    made, address = enrolment
    wrong = pki_token.Token(made.authority.fingerprint, pki_token.new_secret()).text()
    joiner = Joiner(wrong, new_request(new_key()), "web", "192.0.2.1")
    with pytest.raises(Refused, match="token is not valid"):
        await agent_client.join(address, made.authority.fingerprint, joiner)
    assert list(made.tables.world.all(Node)) == []


async def test_join_at_a_false_manager_sends_no_token(enrolment: tuple[Enrolment, str]) -> None:
    made, address = enrolment
    other = pki_authority.create("c1", made.clock.now()).fingerprint
    joiner = Joiner("secret", b"", "web", "")
    with pytest.raises(Refused, match="not the one that the token was made for"):
        await agent_client.join(address, other, joiner)


async def test_guesses_of_a_token_are_bounded(enrolment: tuple[Enrolment, str]) -> None:
    made, address = enrolment
    wrong = pki_token.Token(made.authority.fingerprint, pki_token.new_secret()).text()

    async def attempt(token: str) -> None:
        joiner = Joiner(token, new_request(new_key()), "web", "192.0.2.1")
        await agent_client.join(address, made.authority.fingerprint, joiner)

    for _ in range(int(guard.FAILED_JOINS[1])):
        with pytest.raises(Refused):
            await attempt(wrong)
    with pytest.raises(Unavailable, match="were refused"):
        await attempt(wrong)
    with pytest.raises(Unavailable, match="were refused"):
        await attempt(made.token(Role.WORKER))  # no answer tells whether it was a good one
    assert list(made.tables.world.all(Node)) == []


def silent(port: int, count: int) -> list[socket.socket]:
    """Connections that say nothing; those that the server has closed again are left out."""
    opened = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=5)
        opened.append(one)
    return opened


def still_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


async def test_silent_strangers_take_a_bounded_part_of_the_joiners_port(
    enrolment: tuple[Enrolment, str],
) -> None:
    _, address = enrolment
    port = int(address.rpartition(":")[2])
    opened = await asyncio.to_thread(silent, port, limits.JOINER_CONNECTIONS + 100)
    try:
        await cluster.until(
            lambda: sum(still_open(one) for one in opened) <= limits.JOINER_CONNECTIONS
        )
    finally:
        for one in opened:
            one.close()


async def test_a_node_that_comes_back_all_the_time_is_told_to_wait(manager: Manager) -> None:
    identity = manager.authority.node("n1")

    async def come() -> None:
        connection = ManagerConnection(manager.address, identity)
        try:
            async with connection.session() as link:
                await link.send(Hello("n1"))
                await link.receive()
        finally:
            await connection.close()

    for _ in range(int(guard.SESSIONS[1])):
        await come()
    with pytest.raises(Unavailable, match="too often"):
        await asyncio.gather(*(come() for _ in range(20)))


async def test_two_hundred_nodes_come_back_at_once(manager: Manager) -> None:
    names = [f"m{number}" for number in range(200)]
    await manager.write(*(cluster.member(name, 2 + i) for i, name in enumerate(names[:90])))
    await manager.write(*(cluster.member(name, 92 + i) for i, name in enumerate(names[90:170])))
    await manager.write(*(cluster.member(name, 172 + i) for i, name in enumerate(names[170:])))
    identities = [(name, manager.authority.node(name)) for name in names]

    async def come(name: str, identity: tls.Identity) -> bool:
        connection = ManagerConnection(manager.address, identity)
        try:
            async with connection.session() as link:
                await link.send(Hello(name))
                return isinstance(await link.receive(), Welcome)
        finally:
            await connection.close()

    for _ in range(2):
        assert all(await asyncio.gather(*(come(*one) for one in identities)))
