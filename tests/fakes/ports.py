"""Free ports for the servers that tests start."""

import secrets
import socket
from pathlib import Path

_LOWEST = 10_000


def free_port() -> int:
    """A TCP port that nothing uses, below those the kernel gives to clients: no connection that
    the test itself makes can take it before its server does."""
    clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = _LOWEST + secrets.randbelow(max(clients, 2 * _LOWEST) - _LOWEST)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
