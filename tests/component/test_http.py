"""The manager's HTTP port on loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable

import pytest
from aiohttp import ClientSession
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stackd.errors import Unavailable
from stackd.web import http
from tests.component.cluster import until
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
        task = group.create_task(http.serve(port.app, "127.0.0.1", port.number, Hasty))
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
            await http.serve(Port().app, "127.0.0.1", number)


def still_open(one: socket.socket) -> bool:
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


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
