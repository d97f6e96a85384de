"""The least of HTTP/1.1 over a unix socket: Envoy's admin and barrier listeners speak it.

Called by `xds.admin` and `host.envoy_instance`. One request per connection.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from stackd.errors import Unavailable

MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and whole body."""

    status: int
    body: bytes


async def request(path: str, target: str, method: str = "GET", timeout: float = 5.0) -> Reply:
    """One request to the server at socket `path`; `target` is the percent-encoded path and query.

    Raises Unavailable when it cannot be reached, answers nonsense or takes over `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(path, target, method)
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"no answer at {path}: {reason}") from error


async def _exchange(path: str, target: str, method: str) -> Reply:
    reader, writer = await asyncio.open_unix_connection(path, limit=1024 * 1024)
    try:
        writer.write(
            f"{method} {target} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n"
            "content-length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        return Reply(int(first.split()[1]), await _body(reader, headers))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int((await reader.readline()).split(b";")[0], 16):
            if len(body) + size > MAX_BODY:
                raise ValueError("the answer is too long")
            body += (await reader.readexactly(size + 2))[:-2]
        return bytes(body)
    if "content-length" in headers:
        return await reader.readexactly(min(int(headers["content-length"]), MAX_BODY))
    return await reader.read(MAX_BODY)
