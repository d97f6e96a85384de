"""Whom this machine talks to: its name servers and the far ends of its connections.

Called by `host.cluster`, which must not route their addresses to tasks: they may lie in a private
range that is reached by the default route, and no route of this machine shows them.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

_RESOLVERS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_CONNECTIONS = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED = "01"
_MAPPED = "0000000000000000FFFF0000"
"""How /proc/net/tcp6 begins an IPv4 address."""


def addresses() -> list[ipaddress.IPv4Network]:
    """Each neighbour, as a network of one address."""
    found = {a for path in _RESOLVERS for a in nameservers(_text(path))}
    found |= {a for path in _CONNECTIONS for a in far_ends(_text(path))}
    return [ipaddress.IPv4Network(address) for address in sorted(found) if not address.is_loopback]


def nameservers(text: str) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 name servers of a resolv.conf."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                yield ipaddress.IPv4Address(words[1])
            except ValueError:
                continue  # IPv6


def far_ends(text: str) -> Iterator[ipaddress.IPv4Address]:
    """Remote IPv4 addresses of the established connections of /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        address = fields[2].split(":")[0].removeprefix(_MAPPED)
        if fields[3] == _ESTABLISHED and len(address) == 8:
            yield ipaddress.IPv4Address(bytes.fromhex(address)[::-1])


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
