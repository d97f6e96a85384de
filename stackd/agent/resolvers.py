"""The host's resolvers, asked on behalf of tasks. Used by `agent.dns`.

Messages are passed on as they are but for their id, from a fresh port each time.
"""

import asyncio
import secrets
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.errors import Unavailable

_MANAGED = "/run/systemd/resolve/resolv.conf"
PER_SERVER = 2.0
DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """A resolver's IPv4 or IPv6 address and port."""

    address: str
    port: int = 53


def parse(text: str) -> tuple[Upstream, ...]:
    """The nameservers of a resolv.conf."""
    lines = [line.split() for line in text.splitlines()]
    return tuple(Upstream(f[1]) for f in lines if len(f) >= 2 and f[0] == "nameserver")


def of_host() -> "Resolvers":
    """The host's own. A stub on loopback is passed over for the resolvers behind it, where
    systemd-resolved says which they are."""
    servers = _read("/etc/resolv.conf")
    if all(server.address.startswith("127.") for server in servers):
        servers = _read(_MANAGED) or servers
    return Resolvers(servers)


def _read(path: str) -> tuple[Upstream, ...]:
    try:
        return parse(Path(path).read_text())
    except OSError:
        return ()


class Resolvers:
    """Asked in order: the next when one does not answer within 2 s, all within 5 s."""

    def __init__(self, servers: Sequence[Upstream]) -> None:
        self._servers = tuple(servers)

    async def ask(self, data: bytes, *, stream: bool) -> bytes:
        """The first answer to a question, by TCP if `stream`. Raises Unavailable."""
        inquire = _ask_tcp if stream else _ask_udp
        try:
            async with asyncio.timeout(DEADLINE):
                for server in self._servers:
                    number = secrets.token_bytes(2)
                    try:
                        async with asyncio.timeout(PER_SERVER):
                            answer = await inquire(server, number + data[2:])
                    except (OSError, TimeoutError, asyncio.IncompleteReadError):
                        continue
                    return data[:2] + answer[2:]
        except TimeoutError:
            pass
        raise Unavailable(f"None of the host's {len(self._servers)} resolvers answers.")


async def _ask_udp(server: Upstream, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        await loop.sock_connect(made, (server.address, server.port))
        await loop.sock_sendall(made, question)
        while True:
            answer = await loop.sock_recv(made, 65535)
            if len(answer) >= 12 and answer[:2] == question[:2] and answer[2] & 0x80:
                return answer


async def _ask_tcp(server: Upstream, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        writer.write(struct.pack("!H", len(question)) + question)
        await writer.drain()
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        answer = await reader.readexactly(size)
    finally:
        writer.close()
    if len(answer) < 12 or answer[:2] != question[:2]:
        raise OSError("an answer to another question")
    return answer
