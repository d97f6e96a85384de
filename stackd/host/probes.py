"""Probes of tasks over the network: one TCP connection, one HTTP GET. Used by `host.datapath`.

The sockets are made in the data-plane namespace; waiting for them is the event loop's.
"""

import asyncio
import socket
from pathlib import Path

_LISTEN = "0A"
_READ = 4096
_HTTP_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")


def tcp_socket() -> socket.socket:
    """A non-blocking TCP socket of the calling thread's namespace."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


async def connect(made: socket.socket, address: str, port: int, timeout: float) -> str:
    """'' when the address accepts a connection within `timeout` seconds, or why not."""
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(made, (address, port))
    except TimeoutError:
        return f"{address}:{port} did not answer within {timeout:g}s"
    except ConnectionRefusedError:
        return f"nothing listens at {address}:{port}"
    except OSError as error:
        return f"{address}:{port} cannot be reached: {error.strerror}"
    return ""


async def http_get(
    made: socket.socket, address: str, port: int, path: str, timeout: float
) -> tuple[int, str]:
    """(status, '') of one GET, or (0, why). At most 4 KiB are read; nothing is followed."""
    if not path.startswith("/") or any(c <= " " or c > "~" for c in path):
        return 0, f"the path {path!r} cannot be asked for"
    try:
        async with asyncio.timeout(timeout):
            if why := await connect(made, address, port, timeout):
                return 0, why
            return await _ask(made, f"{address}:{port}", path)
    except TimeoutError:
        return 0, f"{address}:{port} did not answer within {timeout:g}s"
    except OSError as error:
        return 0, f"{address}:{port} broke off: {error.strerror}"


async def _ask(made: socket.socket, authority: str, path: str) -> tuple[int, str]:
    loop = asyncio.get_running_loop()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: stackd-probe\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    await loop.sock_sendall(made, request.encode())
    got = b""
    while b"\n" not in got and len(got) < _READ:
        chunk = await loop.sock_recv(made, _READ - len(got))
        if not chunk:
            break
        got += chunk
    parts = got.split(b"\n", 1)[0].split()
    if len(parts) < 2 or parts[0] not in _HTTP_VERSIONS or not parts[1].isdigit():
        return 0, f"{authority} did not answer in HTTP"
    return int(parts[1]), ""


def only_on_loopback(port: int) -> bool:
    """Whether, in the calling thread's namespace, a port is listened on, but only on loopback."""
    found = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/thread-self/net", name).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == _LISTEN and int(number, 16) == port:
                found.append(_loopback(address))
    return bool(found) and all(found)


def _loopback(address: str) -> bool:
    if len(address) == 8:
        return address.endswith("7F")
    return address == "00000000000000000000000001000000"
