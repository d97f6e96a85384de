"""The manager's HTTP port on loopback."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused, Unavailable
from stackd.web import http
from tests.component.cluster import until
from tests.fakes.authority import FakeAuthority
from tests.fakes.ports import free_port


class Numbers(Collector):
    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield GaugeMetricFamily("answer", "the answer", value=42)


class Hasty(http.Connection):
    patience = 0.5


class Port:
    """A server whose health can be changed."""

    def __init__(self) -> None:
        self.good = True
        self.number = free_port()
        self.app = http.application(lambda: (self.good, {"status": "said"}), Numbers())

    async def get(self, path: str) -> tuple[int, str, str]:
        address = f"http://127.0.0.1:{self.number}{path}"
        async with ClientSession() as session, session.get(address) as answer:
            return answer.status, answer.content_type, await answer.text()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Port]:
    port = Port()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            http.serve(port.app, http.Listener("127.0.0.1", port.number), Hasty)
        )
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port.number)
                writer.close()
                break
            await asyncio.sleep(0.01)
        try:
            yield port
        finally:
            task.cancel()


async def test_health_follows_the_manager() -> None:
    async with serving() as port:
        assert await port.get("/healthz") == (200, "application/json", '{"status":"said"}')
        port.good = False
        assert (await port.get("/healthz"))[0] == 503


async def test_metrics_are_what_prometheus_reads_and_nothing_else_is_there() -> None:
    async with serving() as port:
        status, kind, text = await port.get("/metrics")
        assert (status, kind) == (200, "text/plain")
        assert "answer 42.0" in text.splitlines()
        for path in ("/", "/metrics/..", "/docs", "/healthz/x"):
            assert (await port.get(path))[0] == 404


async def test_a_taken_port_is_an_error_that_ends_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {number} on 127.0.0.1 is taken"):
            await http.serve(Port().app, http.Listener("127.0.0.1", number))


def still_open(one: socket.socket) -> bool:
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01"])
async def test_handshakes_that_are_never_finished_do_not_stay(tmp_path: Path, hello: bytes) -> None:
    authority = FakeAuthority()
    listener = http.Listener("127.0.0.1", free_port(), *papers(tmp_path, authority))
    app = http.application(lambda: (True, {}), None)
    with contextlib.ExitStack() as opened:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(http.serve(app, listener, Hasty))
            await trusting(listener.port, authority)
            ends = []
            for _ in range(50):
                one = socket.create_connection(("127.0.0.1", listener.port), timeout=5)
                ends.append(opened.enter_context(one))
                one.send(hello)
                one.setblocking(False)
            await until(lambda: not any(map(still_open, ends)))
            assert await secured(listener.port, authority) == 200
            task.cancel()


async def test_silent_connections_are_bounded_and_do_not_stay() -> None:
    with contextlib.ExitStack() as opened:
        async with serving() as port:
            ends = []
            for _ in range(http.CONNECTIONS + 50):
                one = socket.create_connection(("127.0.0.1", port.number), timeout=5)
                ends.append(opened.enter_context(one))
                one.setblocking(False)
            ends[0].send(b"GET /healthz HTTP/1.1\r\nHost: ")
            await until(lambda: sum(map(still_open, ends)) <= http.CONNECTIONS)
            await until(lambda: not any(map(still_open, ends)))
            assert (await port.get("/healthz"))[0] == 200


HOST = "manager.stackd.internal"


def papers(folder: Path, authority: FakeAuthority) -> tuple[str, str]:
    """Files of a certificate and its key."""
    identity = authority.manager()
    certificate, key = folder / "cert.pem", folder / "key.pem"
    key.write_bytes(identity.key)
    certificate.write_bytes(identity.certificate)
    return str(certificate), str(key)


async def secured(port: int, authority: FakeAuthority) -> int:
    """The status of /healthz over TLS, if the server shows a certificate of `authority`."""
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    address = f"https://127.0.0.1:{port}/healthz"
    async with (
        ClientSession(connector=TCPConnector(ssl=trust)) as session,
        session.get(address, server_hostname=HOST) as answer,
    ):
        return answer.status


async def trusted(port: int, authority: FakeAuthority) -> bool:
    try:
        return await secured(port, authority) == 200
    except OSError:
        return False


async def trusting(port: int, authority: FakeAuthority) -> None:
    while not await trusted(port, authority):  # noqa: ASYNC110  (it is asked over the network)
        await asyncio.sleep(0.02)


async def test_tls_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    first, second = FakeAuthority(), FakeAuthority()
    certificate, key = papers(tmp_path, first)
    number = free_port()
    listener = http.Listener("127.0.0.1", number, certificate, key, look_every=0.05)
    app = http.application(lambda: (True, {}), None)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(http.serve(app, listener))
        await trusting(number, first)
        assert not await trusted(number, second)
        Path(key).write_bytes(b"half written")
        await asyncio.sleep(0.2)
        assert await trusted(number, first)
        papers(tmp_path, second)
        await trusting(number, second)
        async with ClientSession() as session:
            with pytest.raises(ClientError):
                await session.get(f"http://127.0.0.1:{number}/healthz")
        task.cancel()


def test_files_that_are_no_certificate_and_key_are_named(tmp_path: Path) -> None:
    certificate, key = papers(tmp_path, FakeAuthority())
    (tmp_path / "other").mkdir()
    _, other = papers(tmp_path / "other", FakeAuthority())
    for one, two in ((certificate, other), (certificate, "/no/such"), (key, key)):
        with pytest.raises(Refused, match="are no certificate and its key") as refused:
            http.tls(one, two)
        assert "PEM" in refused.value.remedy
    assert http.tls(certificate, key).minimum_version == ssl.TLSVersion.TLSv1_2


def cluster(listen: str, *, papers: bool = False) -> ClusterFile:
    path = "/x.pem" if papers else ""
    return ClusterFile(id="x", http_listen=listen, http_cert=path, http_key=path)


@pytest.mark.parametrize("listen", ["0.0.0.0:7443", "192.0.2.1:7443", "[::]:7443", "host:7443"])
def test_off_loopback_there_is_no_api_without_tls(listen: str) -> None:
    with pytest.raises(Refused, match="not on loopback, and there tokens need TLS") as refused:
        http.listener(cluster(listen))
    assert refused.value.remedy == "Give --http-cert FILE and --http-key FILE."
    found = http.listener(cluster(listen, papers=True))
    assert found is not None
    assert (found.port, found.certificate) == (7443, "/x.pem")


@pytest.mark.parametrize("listen", ["127.0.0.1:7443", "[::1]:7443", "localhost:7443"])
def test_on_loopback_tls_is_a_choice(listen: str) -> None:
    assert http.listener(cluster(listen)) is not None
    assert http.listener(cluster("")) is None


@pytest.mark.parametrize("listen", ["7443", ":7443", "host", "host:", "host:0", "host:70000"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(Refused, match="is no address to listen on"):
        http.listener(cluster(listen, papers=True))
