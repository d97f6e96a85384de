"""The HTTP server that tasks ask about their feature toggles, at their gateway on this node.

What is answered is in `agent.ofrep`; who asks is known by the source address. Nothing listens
until some service of the cluster declares a toggle. Untrusted: requests are bounded in size, time
and number. Told of services by `agent.traffic`.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import h11

from stackd.agent import ofrep
from stackd.agent.askers import Askers, Place
from stackd.agent.ofrep import Asked, Toggles, Told
from stackd.aio.clock import Clock
from stackd.core.model.ids import service_key
from stackd.core.model.toggle import Toggle
from stackd.core.model.traffic import TrafficEntry

PORT = 8016
MOST, MOST_PER_TASK = 1024, 64
"""Connections."""
IDLE = 75.0
"""Seconds without a request."""
PATIENCE = 10.0
"""Seconds for the rest of a request that has begun, and for taking an answer."""
EVERY = 60.0
"""Seconds between two reports that the same toggle was asked for."""
LARGEST = 64 * 1024
"""Bytes of a body."""
_HEAD = 16 * 1024
_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Times:
    """How long a connection may say nothing, and how long a request and its answer may take."""

    idle: float = IDLE
    patience: float = PATIENCE


class ToggleServer:
    """`run` all along; `services` whenever the traffic entries change."""

    def __init__(
        self,
        place: Place,
        report: Callable[[Mapping[str, float]], None],
        clock: Clock,
        port: int = PORT,
        times: Times = Times(),
    ) -> None:
        """`report` takes when each toggle was last asked for, at most once a minute for each."""
        self._place = place
        self._report = report
        self._clock = clock
        self._last: dict[str, float] = {}
        self._port = port
        self._times = times
        self._askers = Askers(place)
        self._features: Mapping[str, Mapping[str, Toggle]] = {}
        self._needed = asyncio.Event()
        self._open: Counter[str] = Counter()

    def services(self, entries: Sequence[TrafficEntry]) -> None:
        """Know exactly these services from now on."""
        self._features = {entry.key: entry.features for entry in entries if entry.features}
        declared = {f"{key}/{name}" for key, found in self._features.items() for name in found}
        self._last = {name: at for name, at in self._last.items() if name in declared}
        if self._features:
            self._needed.set()

    async def run(self) -> None:
        """Serve until cancelled. Raises Unavailable when the port cannot be had."""
        await self._needed.wait()
        listening = await self._place.listen(socket.SOCK_STREAM, self._port)
        server = await asyncio.start_server(self._serve, sock=listening, limit=_HEAD)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername")[0])
        if self._open.total() >= MOST or self._open[address] >= MOST_PER_TASK:
            writer.transport.abort()
            return
        self._open[address] += 1
        try:
            await _Connection(self, reader, writer, self._times).serve(address)
        except (OSError, TimeoutError, h11.ProtocolError):
            pass  # whoever asked has gone, is slow, or speaks something else
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
            writer.close()

    def told(self, asked: Asked, address: str) -> Told:
        """What a task that has this address is answered."""
        asker = self._askers.at(address)
        if asker is None:
            return ofrep.answer(asked, None)
        key = service_key(asker.stack, asker.service)
        toggles = Toggles(asker.stack, asker.service, self._features.get(key, {}))
        told = ofrep.answer(asked, toggles)
        self._note(f"{key}/{name}" for name in told.about)
        return told

    def _note(self, toggles: Iterable[str]) -> None:
        """These were asked for now; said when the last time that was said is a while ago."""
        now = self._clock.now()
        new = [name for name in toggles if now - self._last.get(name, 0.0) >= EVERY]
        if new:
            self._last.update(dict.fromkeys(new, now))
            self._report(self._last)


class _Connection:
    """One connection of a task: requests one after the other."""

    def __init__(
        self,
        server: ToggleServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        times: Times,
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._times = times
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)

    async def serve(self, address: str) -> None:
        """Until it ends or must not be used again. Raises OSError, TimeoutError, and
        h11.ProtocolError when it is not HTTP."""
        while True:
            async with asyncio.timeout(self._times.idle):
                await self._first()
            async with asyncio.timeout(self._times.patience):
                request = await self._next()
                if not isinstance(request, h11.Request):
                    return
                await self._answer(request, await self._body(request), address)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _first(self) -> None:
        """Wait until something of a request is there, or the end."""
        if not self._http.trailing_data[0]:
            self._http.receive_data(await self._reader.read(_PIECE))

    async def _body(self, request: h11.Request) -> bytes | None:
        """None = larger than anything that is answered."""
        parts: list[bytes] = []
        size = 0
        while True:
            event = await self._next()
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size > LARGEST:
                    return None
                parts.append(bytes(event.data))
            else:
                return b"".join(parts)

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            self._http.receive_data(await self._reader.read(_PIECE))
        return event

    async def _answer(self, request: h11.Request, body: bytes | None, address: str) -> None:
        if body is None:
            told = Told(413, b'{"errorDetails":"the body is larger than 64 KiB"}')
        else:
            told = self._server.told(_asked(request, body), address)
        headers = [("content-length", str(len(told.body)))]
        if told.body:
            headers.append(("content-type", "application/json"))
        if told.tag:
            headers.append(("etag", told.tag))
        if body is None:
            headers.append(("connection", "close"))
        response = h11.Response(status_code=told.status, headers=headers)
        said = b"" if request.method == b"HEAD" else told.body
        parts = (response, h11.Data(data=said), h11.EndOfMessage())
        # In one piece: the kernel would hold the second back until the first is acknowledged.
        self._writer.write(b"".join(self._http.send(part) or b"" for part in parts))
        await self._writer.drain()


def _asked(request: h11.Request, body: bytes) -> Asked:
    known = [value.decode("latin-1") for name, value in request.headers if name == b"if-none-match"]
    return Asked(
        method=request.method.decode("latin-1"),
        path=request.target.decode("latin-1").partition("?")[0],
        body=body,
        known=", ".join(known),
    )
