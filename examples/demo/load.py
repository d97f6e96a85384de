"""A client that counts: sends requests at a steady rate and says what became of each.

Kinds, in turn: GET on kept connections, GET on a new connection, POST of 100 kB, GET of an answer
that takes 2 s. A request is lost when it gets no answer (reset, refused, closed, 10 s without
one) or one that the application did not send (it marks each answer with X-Version).
Used by the demo and by the tests that count lost requests.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BODY = b"x" * 100_000
DEADLINE = 10.0
TICK = 0.005
MOST = 300
"""Requests at once: when answers do not come, it waits for some before it sends more."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the kinds in percent; the rest is GET on kept connections."""

    new: int = 20
    post: int = 12
    slow: int = 8


@dataclass(frozen=True, slots=True)
class Lost:
    """A request that was lost; times are the event loop's."""

    kind: str
    cause: str
    begun: float
    ended: float

    def __str__(self) -> str:
        return f"{self.kind}: {self.cause}"

    @property
    def refused(self) -> bool:
        """No connection was accepted for it."""
        return "ConnectionRefusedError" in self.cause

    @property
    def late(self) -> bool:
        """No answer came in time."""
        return self.cause.startswith("TimeoutError")


@dataclass(slots=True)
class Tally:
    """What became of the requests."""

    sent: int = 0
    answered: int = 0
    lost: list[Lost] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    last: dict[str, float] = field(default_factory=dict)
    """Version -> when the last request that it answered was sent, by the event loop's clock."""

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

    @property
    def closed(self) -> bool:
        """Whether the other side has closed it."""
        return self.reader.at_eof() or self.reader.exception() is not None

    def close(self) -> None:
        """Close it."""
        self.writer.close()


class Load:
    """Sends `rate` requests a second until `stop`."""

    def __init__(self, target: Target, rate: float, mix: Mix | None = None) -> None:
        self.target = target
        self.rate = rate
        self.mix = mix or Mix()
        self.most = MOST
        self.tally = Tally()
        self.carried = 0
        """Requests that are not answered yet."""
        self.looks = False
        """Whether it drops kept connections that were closed meanwhile, as clients do. Otherwise
        what it sends on one is lost."""
        self.held_up = 0.0
        """The longest time, in seconds, that the client itself had to wait for the processor."""
        self._sent = 0
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
                    self.stop()
                    await pump
        finally:
            for connection in self._kept:
                connection.close()

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    def turn(self) -> Tally:
        """Count what is sent from now on apart; what was sent before stays where it was."""
        self.tally, self.held_up = Tally(), 0.0
        return self.tally

    async def _pump(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while not self._stopping.is_set():
            due = int((loop.time() - start) * self.rate)
            while self._sent < due and self.carried < self.most:
                self._sent += 1
                self.tally.sent += 1
                self.carried += 1
                group.create_task(self._one(self._kind(self._sent), self.tally))
            looked = loop.time()
            await asyncio.sleep(TICK)
            self.held_up = max(self.held_up, loop.time() - looked - TICK)

    async def _one(self, kind: str, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(DEADLINE):
                status, headers, sent = await self._send(kind)
            cause = "" if "x-version" in headers else f"{status} not from the application"
        except (OSError, EOFError, TimeoutError, ValueError, IndexError) as error:
            cause = f"{type(error).__name__} {error}"[:200]
        finally:
            self.carried -= 1
        if cause:
            tally.lost.append(Lost(kind, cause, begun, loop.time()))
            return
        tally.answered += 1
        version = headers["x-version"]
        tally.versions[version] += 1
        tally.last[version] = max(sent, tally.last.get(version, sent))

    def _kind(self, number: int) -> str:
        place = number * 37 % 100
        if place < self.mix.new:
            return "new"
        if place < self.mix.new + self.mix.post:
            return "post"
        if place < self.mix.new + self.mix.post + self.mix.slow:
            return "slow"
        return "kept"

    async def _send(self, kind: str) -> tuple[int, dict[str, str], float]:
        """Status and headers of the answer, and when the request was sent."""
        fresh = kind == "new"
        connection = None if fresh else self._idle()
        connection = connection or await Connection.connect(self.target)
        done = False
        try:
            sent = asyncio.get_running_loop().time()
            status, headers, _ = await connection.ask(*self._request(kind))
            done = True
            return status, headers, sent
        finally:
            if done and connection.open and not fresh:
                self._kept.append(connection)
            else:
                connection.close()

    def _idle(self) -> Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if not (self.looks and connection.closed):
                return connection
            connection.close()
        return None

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
