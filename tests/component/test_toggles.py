"""Feature toggles as tasks ask for them: the OpenFeature SDK with its OFREP provider, and HTTP as
it should not be spoken, over real sockets on loopback."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from stackd.agent.toggles import EVERY, LARGEST, MOST_PER_TASK, Times, ToggleServer
from stackd.aio.clock import ManualClock
from stackd.aio.tasks import Background
from stackd.core.model.driver import NetworkView
from stackd.core.model.toggle import Toggle, ToggleRule
from stackd.core.model.traffic import TrafficEntry
from tests.component.test_dns import FRONT, HERE, attached

WEB, STRANGER = "127.0.0.1", "127.0.0.4"
FLAGS = {
    "all": Toggle(share=10_000),
    "none": Toggle(),
    "some": Toggle(share=2_500),
    "theme": Toggle(
        share=0,
        value="dark",
        otherwise="light",
        rules=(ToggleRule(attribute="country", any_of=("DE", "AT")),),
    ),
    "limit": Toggle(share=10_000, value=20, otherwise=10),
    "ratio": Toggle(share=10_000, value=0.5, otherwise=1.0),
}


class Loopback:
    """A place for the server where the task `web` has the address of whoever tests."""

    def __init__(self) -> None:
        self.view = NetworkView(HERE, (FRONT,), (attached("web", FRONT, WEB),))
        self.listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def listen(self, kind: socket.SocketKind, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        made.listen()
        self.listening.set_result(made.getsockname()[1])
        return made


class Server:
    """The server under test."""

    def __init__(
        self,
        toggles: ToggleServer,
        place: Loopback,
        clock: ManualClock,
        said: list[Mapping[str, float]],
    ) -> None:
        self.toggles = toggles
        self.place = place
        self.clock = clock
        self.said = said

    async def declares(self, features: dict[str, Toggle]) -> int:
        """Its services declare these; the port."""
        entry = TrafficEntry(stack="shop", service="web", features=features)
        other = TrafficEntry(stack="shop", service="db", features={"foreign": Toggle()})
        self.toggles.services([entry, other])
        return await self.place.listening


@contextlib.asynccontextmanager
async def serving(times: Times) -> AsyncIterator[Server]:
    place, background = Loopback(), Background()
    said: list[Mapping[str, float]] = []
    clock = ManualClock()
    toggles = ToggleServer(place, lambda asked: said.append(dict(asked)), clock, times=times)
    background.start(toggles.run(), "toggles")
    try:
        yield Server(toggles, place, clock, said)
    finally:
        await background.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(Times()) as made:
        yield made


def exchange(source: str, port: int, *pieces: bytes) -> bytes:
    """What comes back until the server closes, or has nothing more to say for a while."""
    with socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as made:
        for piece in pieces:
            made.sendall(piece)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while data := made.recv(65536):
                found += data
        return found


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "host: x", "connection: close", *headers)
    return "\r\n".join((*lines, f"content-length: {len(body)}", "", "")).encode() + body


async def asked(source: str, port: int, *pieces: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document of the last answer."""
    answer = await asyncio.to_thread(exchange, source, port, *pieces)
    head, _, body = answer.rpartition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in rest)}
    return int(first.split()[1]), headers, json.loads(body) if body else None


async def test_the_sdk_is_answered(server: Server) -> None:
    port = await server.declares(FLAGS)

    def ask() -> None:
        api.set_provider(OFREPProvider(f"http://127.0.0.1:{port}"))
        client = api.get_client()
        ann = EvaluationContext("ann", {"country": "AT"})
        assert client.get_boolean_value("all", False) is True
        assert client.get_boolean_value("none", True) is False
        assert client.get_string_value("theme", "?", ann) == "dark"
        assert client.get_string_value("theme", "?") == "light"
        assert client.get_integer_value("limit", 1) == 20
        assert client.get_float_value("ratio", 2.0) == 0.5
        details = client.get_string_details("theme", "?", ann)
        assert (details.reason, details.variant) == (Reason.TARGETING_MATCH, "on")
        assert details.flag_metadata == {"service": "shop/web"}
        users = [EvaluationContext(f"user{n}") for n in range(120)]
        first = [client.get_boolean_value("some", False, user) for user in users]
        assert 12 <= sum(first) <= 48, "a quarter of 120"
        assert [client.get_boolean_value("some", False, user) for user in users[:20]] == first[:20]
        missing = client.get_boolean_details("some", True)
        assert (missing.value, missing.error_code) == (True, ErrorCode.TARGETING_KEY_MISSING)
        unknown = client.get_boolean_details("foreign", True)
        assert (unknown.value, unknown.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
        wrong = client.get_boolean_details("theme", True, ann)
        assert (wrong.value, wrong.error_code) == (True, ErrorCode.TYPE_MISMATCH)
        api.shutdown()

    await asyncio.to_thread(ask)


async def test_a_change_is_told_at_once_and_growth_takes_nobody_back(server: Server) -> None:
    port = await server.declares({"some": Toggle(share=1_000)})
    provider = OFREPProvider(f"http://127.0.0.1:{port}")
    users = [EvaluationContext(f"user{n}") for n in range(60)]

    def reached() -> set[str | None]:
        found = (
            user.targeting_key
            for user in users
            if provider.resolve_boolean_details("some", False, user).value
        )
        return set(found)

    few = await asyncio.to_thread(reached)
    await server.declares({"some": Toggle(share=6_000)})
    many = await asyncio.to_thread(reached)
    assert few < many
    await server.declares({"some": Toggle(share=10_000)})
    assert len(await asyncio.to_thread(reached)) == 60


async def test_all_at_once_with_a_tag(server: Server) -> None:
    port = await server.declares(FLAGS)
    body = json.dumps({"context": {"country": "DE"}}).encode()
    status, headers, document = await asked(WEB, port, post("/ofrep/v1/evaluate/flags", body))
    found = {flag["key"]: flag for flag in document["flags"]}
    assert status == 200
    assert found.keys() == FLAGS.keys()
    assert found["theme"]["value"] == "dark"
    assert found["some"]["errorCode"] == "TARGETING_KEY_MISSING"
    again = post("/ofrep/v1/evaluate/flags", body, f"if-none-match: {headers['etag']}")
    assert (await asked(WEB, port, again))[0] == 304
    await server.declares({**FLAGS, "all": Toggle()})
    assert (await asked(WEB, port, again))[0] == 200


async def test_what_is_asked_for_is_reported_once_a_minute(server: Server) -> None:
    port = await server.declares(FLAGS)
    begun = server.clock.now()
    for name in ("all", "all", "none", "unknown"):
        await asked(WEB, port, post(f"/ofrep/v1/evaluate/flags/{name}", b"{}"))
    assert server.said == [
        {"shop/web/all": begun},
        {"shop/web/all": begun, "shop/web/none": begun},
    ]
    await server.clock.advance(EVERY)
    await asked(WEB, port, post("/ofrep/v1/evaluate/flags", b"{}"))
    assert server.said[2:] == [{f"shop/web/{name}": begun + EVERY for name in FLAGS}]
    await server.declares({"all": Toggle()})
    await server.clock.advance(EVERY)
    await asked(WEB, port, post("/ofrep/v1/evaluate/flags/all", b"{}"))
    assert server.said[3:] == [{"shop/web/all": begun + 2 * EVERY}], "the others are gone"


async def test_one_connection_carries_many_requests(server: Server) -> None:
    port = await server.declares(FLAGS)
    kept = post("/ofrep/v1/evaluate/flags/all", b"{}").replace(b"connection: close\r\n", b"")
    answer = await asyncio.to_thread(
        exchange, WEB, port, kept * 3, post("/ofrep/v1/evaluate/flags/none", b"{}")
    )
    assert answer.count(b"HTTP/1.1 200") == 4


async def test_nothing_listens_until_something_is_declared(server: Server) -> None:
    server.toggles.services([TrafficEntry(stack="shop", service="web")])
    for _ in range(20):
        await asyncio.sleep(0)
    assert not server.place.listening.done()
    await server.declares(FLAGS)


async def test_who_is_not_known_is_told_nothing(server: Server) -> None:
    port = await server.declares(FLAGS)
    status, _, document = await asked(STRANGER, port, post("/ofrep/v1/evaluate/flags", b"{}"))
    assert status == 403
    assert "flags" not in document


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("/ofrep/v1/evaluate/flags/all", b"{"), 400),
        (post("/ofrep/v1/evaluate/flags/all", b'{"context": 3}'), 400),
        (post("/ofrep/v1/evaluate/flags/all", b"[" * 30_000), 400),
        (post("/ofrep/v1/evaluate/flags/all", b" " * (LARGEST + 1)), 413),
        (post("/else", b"{}"), 404),
        (b"GET /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405),
        (b"GET /ofrep/v1/configuration HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 200),
    ],
)
async def test_odd_requests(server: Server, request_: bytes, status: int) -> None:
    port = await server.declares(FLAGS)
    assert (await asked(WEB, port, request_))[0] == status


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000]
)
async def test_what_is_no_http_is_closed(server: Server, data: bytes) -> None:
    port = await server.declares(FLAGS)
    assert b"200" not in await asyncio.to_thread(exchange, WEB, port, data)
    assert (await asked(WEB, port, post("/ofrep/v1/evaluate/flags/all", b"{}")))[0] == 200


async def test_who_says_nothing_or_half_is_closed() -> None:
    async with serving(Times(idle=0.05, patience=0.05)) as made:
        port = await made.declares(FLAGS)
        assert await asyncio.to_thread(exchange, WEB, port) == b""
        half = post("/ofrep/v1/evaluate/flags/all", b"{}")[:-1]
        assert await asyncio.to_thread(exchange, WEB, port, half) == b""


async def test_one_task_cannot_take_all_connections(server: Server) -> None:
    port = await server.declares(FLAGS)
    opened = [
        await asyncio.open_connection("127.0.0.1", port, local_addr=(WEB, 0))
        for _ in range(MOST_PER_TASK)
    ]
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(WEB, 0))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert (await asked(STRANGER, port, post("/ofrep/v1/evaluate/flags", b"{}")))[0] == 403
    finally:
        for _, writer in opened:
            writer.close()
    freed = post("/ofrep/v1/evaluate/flags/all", b"{}")
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(exchange, WEB, port, freed):
            pass
