"""One HTTP request to somebody else's server: no redirects, bounded in time and size.

Called by the manager's loops. The certificate of an https server is checked.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

import h11

from stackd.errors import Refused, Unavailable

MOST = 1024 * 1024
"""Bytes of an answer."""
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Call:
    """A request. Its headers may hold a credential."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `retry_after`: seconds that the server asks to wait, 0 = nothing said."""

    status: int
    body: bytes = b""
    retry_after: float = 0.0

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


def check_url(url: str) -> str:
    """An https URL, or one in the clear on this machine, without credentials, query or final
    slash. Raises Refused."""
    parts = _split(url)
    local = parts.scheme == "http" and parts.hostname in LOCAL
    if parts.scheme != "https" and not local:
        raise Refused(f"{url[:80]!r} is not an https URL.", "Write https://HOST/PATH.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Refused("The URL holds credentials, a query or a fragment.", "Leave them out.")
    return url.rstrip("/")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isascii() or not url.isprintable() or " " in url:
        raise Refused(f"{url[:80]!r} is not a URL.", "Write https://HOST/PATH.")
    return parts


async def send(call: Call, timeout: float = 10.0) -> Reply:
    """The server's answer, whatever its status. Raises Unavailable when there is none within
    `timeout` seconds."""
    host = _split(call.url).hostname
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(call)
    except (OSError, TimeoutError, EOFError, h11.ProtocolError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        raise Unavailable(f"{host} cannot be asked: {reason or type(error).__name__}.") from error


async def _exchange(call: Call) -> Reply:
    parts = _split(call.url)
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        connection = h11.Connection(h11.CLIENT)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Host": parts.netloc,
            "User-Agent": "stackd",
            "Connection": "close",
            "Content-Length": str(len(call.body)),
            **call.headers,
        }
        request = h11.Request(method=call.method, target=target, headers=list(headers.items()))
        for event in (request, h11.Data(data=call.body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _reply(reader, connection)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()


async def _reply(reader: asyncio.StreamReader, connection: h11.Connection) -> Reply:
    reply = Reply(0)
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            reply = Reply(event.status_code, retry_after=_retry_after(dict(event.headers)))
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MOST:
                raise EOFError(f"the answer is longer than {MOST} bytes")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return Reply(reply.status, bytes(body), reply.retry_after)


def _retry_after(headers: Mapping[bytes, bytes]) -> float:
    """Seconds; a date counts as nothing said."""
    given = headers.get(b"retry-after", b"")
    return float(given) if given.isdigit() else 0.0
