"""One HTTP request to a server that may be down, slow, endless or talk nonsense.

Called by loops of the manager. Time and size are bounded as a whole; redirects are not followed.
"""

import asyncio
import contextlib
import http.client
import io
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from stackd.errors import Unavailable

MOST = 1024 * 1024
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Call:
    """What to ask. A body makes it a POST. Headers may hold a credential."""

    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and whole body. `retry_after`: seconds that the server asks to wait, 0 = none."""

    status: int
    body: bytes = b""
    retry_after: float = 0.0


async def fetch(call: Call) -> Answer:
    """Raises Unavailable, with the reason as its cause, unless a whole answer came in time."""
    try:
        async with asyncio.timeout(call.timeout):
            return _parsed(await _exchange(call))
    except TimeoutError as error:
        raise Unavailable(f"no answer within {call.timeout:g}s") from error
    except (OSError, EOFError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(f"no answer: {reason}") from error


async def _exchange(call: Call) -> bytes:
    """The raw answer. Raises OSError, ValueError."""
    parts = urllib.parse.urlsplit(call.url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("not an http or https address")
    context = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or PORTS[parts.scheme]
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        writer.write(_request(call, parts))
        await writer.drain()
        received = bytearray()
        while chunk := await reader.read(65536):
            received += chunk
            if len(received) > MOST:
                raise ValueError("the answer is too long")
        return bytes(received)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _request(call: Call, parts: urllib.parse.SplitResult) -> bytes:
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + urllib.parse.quote(parts.query, safe="%:@!$&'()*+,;=~-._/?[]")
    host = parts.netloc.rpartition("@")[2]
    headers = {
        "host": host,
        "connection": "close",
        "accept": "*/*",
        "user-agent": "stackd",
        **call.headers,
    }
    body = call.body
    if body is not None:
        headers["content-length"] = str(len(body))
    lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in the address")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


class _Received:
    """What the standard library's parser reads an answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parsed(data: bytes) -> Answer:
    """Raises HTTPException or ValueError for what is no whole answer."""
    response = http.client.HTTPResponse(_Received(data))  # type: ignore[arg-type]
    response.begin()
    asked = response.getheader("Retry-After", "")
    pause = float(asked) if asked.isascii() and asked.isdigit() else 0.0
    return Answer(response.status, response.read(), pause)
