"""A client that counts: sends requests at a steady rate and says what became of each.

Kinds, in turn: GET on kept connections, GET on a new connection, POST of 100 kB, GET of an answer
that takes 2 s. A request is lost when it gets no answer (reset, refused, closed, 10 s without
one) or one that the application did not send (it marks each answer with X-Version).
Used by the demo and by the tests that count lost requests.
"""

import asyncio
import contextlib
import datetime
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BODY = b"x" * 100_000
DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the kinds in percent; the rest is GET on kept connections."""

    new: int = 20
    post: int = 12
    slow: int = 8


@dataclass(slots=True)
class Tally:
    """What became of the requests."""

    sent: int = 0
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        seen = ", ".join(f"{v}: {n}" for v, n in sorted(self.versions.items()))
        return f"{self.sent} requests, {len(self.lost)} lost, versions seen: {seen}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send: an address, and the Host header."""

    host: str
    port: int
    name: str = "localhost"
    slow_seconds: float = 2.0


class Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.open = True

    @classmethod
    async def connect(cls, target: Target) -> "Connection":
        """A new connection."""
        return cls(*await asyncio.open_connection(target.host, target.port))

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Send one request; (status, headers in lower case, body) of its answer."""
        self.writer.write(head.encode() + b"\r\n" + body)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:] if x)}
        if headers.get("transfer-encoding", "") == "chunked":
            answer = await self._chunks()
        else:
            answer = await self.reader.readexactly(int(headers.get("content-length", "0")))
        self.open = headers.get("connection", "") != "close"
        return status, headers, answer

    async def _chunks(self) -> bytes:
        whole = b""
        while size := int(await self.reader.readline(), 16):
            whole += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return whole

    def close(self) -> None:
        """Close it."""
        self.writer.close()


class Load:
    """Sends `rate` requests a second until `stop`."""

    def __init__(self, target: Target, rate: float, mix: Mix | None = None) -> None:
        self.target = target
        self.rate = rate
        self.mix = mix or Mix()
        self.tally = Tally()
        self._kept: list[Connection] = []
        self._stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Tally]:
        """Send while the block runs; afterwards every answer has come or is counted as lost."""
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(self._pump(group))
                try:
                    yield self.tally
                finally:
                    self._stopping.set()
                    await pump
        finally:
            for connection in self._kept:
                connection.close()

    async def _pump(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while not self._stopping.is_set():
            due = int((loop.time() - start) * self.rate)
            while self.tally.sent < due:
                self.tally.sent += 1
                group.create_task(self._one(self.tally.sent))
            await asyncio.sleep(0.005)

    async def _one(self, number: int) -> None:
        kind = self._kind(number)
        began = datetime.datetime.now(datetime.UTC)
        try:
            async with asyncio.timeout(DEADLINE):
                status, headers, _ = await self._send(kind)
        except (OSError, EOFError, TimeoutError, ValueError, IndexError) as error:
            text = f"{kind}: {type(error).__name__} {error}"[:200]
            self.tally.lost.append(f"{text} (sent at {began:%H:%M:%S.%f})")
            return
        if "x-version" not in headers:
            self.tally.lost.append(f"{kind}: {status} not from the application")
            return
        self.tally.answered += 1
        self.tally.versions[headers.get("x-version", f"status {status}")] += 1

    def _kind(self, number: int) -> str:
        place = number * 37 % 100
        if place < self.mix.new:
            return "new"
        if place < self.mix.new + self.mix.post:
            return "post"
        if place < self.mix.new + self.mix.post + self.mix.slow:
            return "slow"
        return "kept"

    async def _send(self, kind: str) -> tuple[int, dict[str, str], bytes]:
        fresh = kind == "new"
        connection = None if fresh or not self._kept else self._kept.pop()
        connection = connection or await Connection.connect(self.target)
        done = False
        try:
            answer = await connection.ask(*self._request(kind))
            done = True
            return answer
        finally:
            if done and connection.open and not fresh:
                self._kept.append(connection)
            else:
                connection.close()

    def _request(self, kind: str) -> tuple[str, bytes]:
        host = f"Host: {self.target.name}\r\n"
        match kind:
            case "post":
                return f"POST / HTTP/1.1\r\n{host}Content-Length: {len(BODY)}\r\n", BODY
            case "slow":
                path = f"/slow?seconds={self.target.slow_seconds}"
                return f"GET {path} HTTP/1.1\r\n{host}", b""
            case "new":
                return f"GET / HTTP/1.1\r\n{host}Connection: close\r\n", b""
            case _:
                return f"GET / HTTP/1.1\r\n{host}", b""


async def fetch(target: Target, path: str = "/") -> tuple[int, dict[str, str], bytes]:
    """One GET on a connection of its own."""
    connection = await Connection.connect(target)
    try:
        head = f"GET {path} HTTP/1.1\r\nHost: {target.name}\r\nConnection: close\r\n"
        return await connection.ask(head)
    finally:
        connection.close()
