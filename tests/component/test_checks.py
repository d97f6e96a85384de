"""Checks against real servers and real commands: what is down, slow or nonsense is no pass."""

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from stackd.core.model.analysis import (
    Check,
    CheckKind,
    CheckOutcome,
    CheckResult,
    Condition,
    Operator,
)
from stackd.errors import Unavailable
from stackd.manager.checks import Subject, ask
from stackd.web.fetch import MOST, Call, fetch
from tests.fakes.ports import free_port

SUBJECT = Subject("shop", "web", "background", "new", "old", "", 2, "pause 10s", 4)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server on loopback whose every path is `handler`; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw(answer: bytes, *, close: bool = True) -> AsyncIterator[str]:
    """A server that answers anything with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            writer.write(answer)
            await writer.drain()
            if not close:
                await over.wait()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        done.set()

    over, done = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        over.set()
        server.close()
        await done.wait()


def text(body: str, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status)

    return handler


async def outcome(kind: CheckKind, **fields: object) -> CheckResult:
    check = Check(name="c", kind=kind, **fields)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        found = await ask(check, SUBJECT, 5.0, Path(folder))
        assert list(Path(folder).iterdir()) == []
    return found


AT_LEAST = Condition(operator=Operator.AT_LEAST, value=0.99)


def prometheus(result: object, kind: str = "vector") -> str:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (prometheus([{"metric": {}, "value": [1, "0.995"]}]), 200, CheckOutcome.PASS),
        (prometheus([1, "0.5"], "scalar"), 200, CheckOutcome.FAIL),
        (prometheus([{"value": [1, "1"]}, {"value": [1, "0.9"]}]), 200, CheckOutcome.FAIL),
        (prometheus([]), 200, CheckOutcome.ERROR),
        (prometheus([{"value": [1, "NaN"]}]), 200, CheckOutcome.ERROR),
        (prometheus([{"value": [1, "much"]}]), 200, CheckOutcome.ERROR),
        (prometheus([{"values": [[1, "1"]]}], "matrix"), 200, CheckOutcome.ERROR),
        ('{"status":"error","error":"parse error"}', 400, CheckOutcome.ERROR),
        ("<html>not found</html>", 200, CheckOutcome.ERROR),
        ("", 200, CheckOutcome.ERROR),
        (prometheus([{"value": [1, "1"]}]), 500, CheckOutcome.ERROR),
    ],
)
async def test_a_query(body: str, status: int, expected: CheckOutcome) -> None:
    async with served(text(body, status)) as url:
        found = await outcome(CheckKind.PROMETHEUS, url=url, query="up", condition=AT_LEAST)
    assert found.outcome is expected
    assert found.text


async def test_a_query_is_sent_as_it_is_written() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(f"{request.path} {request.query['query']}")
        return web.Response(text=prometheus([{"value": [1, "1"]}]))

    query = 'sum(rate(errors{job="a b"}[5m])) / 100 > 1 & "%"'
    async with served(handler) as url:
        found = await outcome(
            CheckKind.PROMETHEUS, url=f"{url}/prom/", query=query, condition=AT_LEAST
        )
    assert found.outcome is CheckOutcome.PASS
    assert asked == [f"/prom/api/v1/query {query}"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, CheckOutcome.PASS),
        (204, CheckOutcome.PASS),
        (302, CheckOutcome.FAIL),
        (404, CheckOutcome.FAIL),
        (500, CheckOutcome.FAIL),
        (503, CheckOutcome.ERROR),
    ],
)
async def test_an_address(status: int, expected: CheckOutcome) -> None:
    async with served(text("x", status)) as url:
        assert (await outcome(CheckKind.HTTP, url=f"{url}/healthz?a=b c")).outcome is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, CheckOutcome.PASS),
        (202, CheckOutcome.WAIT),
        (403, CheckOutcome.WAIT),
        (500, CheckOutcome.ERROR),
    ],
)
async def test_a_gate_is_told_what_it_is_about(status: int, expected: CheckOutcome) -> None:
    told: list[dict[str, object]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        told.append({"method": request.method, **await request.json()})
        return web.Response(status=status)

    async with served(handler) as url:
        assert (await outcome(CheckKind.WEBHOOK, url=url)).outcome is expected
    assert told == [{"method": "POST", **SUBJECT.body}]
    assert (told[0]["step"], told[0]["words"], told[0]["steps"]) == (2, "pause 10s", 4)


async def test_a_source_that_is_down_slow_or_talks_nonsense_gives_no_answer() -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with served(slow) as url:
        late = await outcome(CheckKind.HTTP, url=url, timeout=0.3)
    found = [
        late,
        await outcome(CheckKind.HTTP, url=f"http://127.0.0.1:{free_port()}/"),
        await outcome(CheckKind.HTTP, url="http://no-such-host.invalid/"),
        await outcome(CheckKind.HTTP, url="gopher://127.0.0.1/"),
        await outcome(CheckKind.HTTP, url="http://127.0.0.1:99999/"),
    ]
    for answer in (b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100):
        async with raw(answer) as url:
            found.append(await outcome(CheckKind.HTTP, url=url))
    async with raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc") as url:
        found.append(await outcome(CheckKind.HTTP, url=url))
    async with raw(b"HTTP/1.1 200 OK\r\n\r\nabc", close=False) as url:
        found.append(await outcome(CheckKind.HTTP, url=url, timeout=0.3))
    assert [f.outcome for f in found] == [CheckOutcome.ERROR] * len(found)
    assert "within 0.3s" in late.text
    assert all(f.text for f in found)


async def test_an_answer_without_end_is_given_up() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * MOST)) as url:
        with pytest.raises(Unavailable, match="too long"):
            await fetch(Call(url))


async def test_a_command_passes_by_its_exit_code() -> None:
    run = [
        await outcome(CheckKind.COMMAND, command=("/bin/sh", "-c", script))
        for script in ("exit 0", "echo no >&2; exit 3", 'test "$STACKD_CANARY" = new')
    ]
    assert [f.outcome for f in run] == [CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.PASS]
    assert run[1].text == "exit code 3: no"


async def test_a_command_that_hangs_or_is_not_there_gives_no_answer_and_leaves_nothing() -> None:
    late = await outcome(
        CheckKind.COMMAND, command=("/bin/sh", "-c", "sleep 61.5 & sleep 61.5"), timeout=0.5
    )
    missing = await outcome(CheckKind.COMMAND, command=("/bin/no-such-smoke",))
    assert [late.outcome, missing.outcome] == [CheckOutcome.ERROR] * 2
    assert "within 0.5s" in late.text
    assert _running("61.5") == 0


def _running(word: str) -> int:
    """Processes that have the word in their arguments."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += word.encode() in path.read_bytes()
    return found
