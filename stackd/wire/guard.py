"""How much of a port one member or one stranger may take. Used by `wire.agent_server`.

Connections are bounded per port by gRPC itself (`limits`); here it is calls, each counted for
whom it is made by: the member of the certificate, or the address of a stranger.
"""

import ipaddress
import urllib.parse

from stackd.aio.clock import Clock
from stackd.aio.rate import Buckets
from stackd.errors import Unavailable

SESSIONS = (0.5, 10.0)
"""Of one node: a second, and at once. An agent that comes back after an outage needs one."""
CALLS = (50.0, 500.0)
"""Blobs and tunnels of one node."""
FAILED_JOINS = (0.1, 10.0)
"""Of one address: only joins that are refused count, so any number of nodes may join."""


class Guard:
    """Counts; every method raises Unavailable with a time to wait."""

    def __init__(self, clock: Clock) -> None:
        self._sessions = Buckets(clock, *SESSIONS)
        self._calls = Buckets(clock, *CALLS)
        self._failed = Buckets(clock, *FAILED_JOINS)

    def session(self, peer: str) -> None:
        """A member begins a session."""
        _heed(self._sessions.take(peer), "This node begins sessions too often.")

    def call(self, peer: str) -> None:
        """A member asks for something else."""
        _heed(self._calls.take(peer), "This node asks too often.")

    def before_join(self, address: str) -> None:
        """Before a token is looked at."""
        _heed(self._failed.wait(address), "Too many joins from this address were refused.")

    def join_refused(self, address: str) -> None:
        """A token or request was not good."""
        self._failed.take(address)


def _heed(pause: float, cause: str) -> None:
    if pause:
        raise Unavailable(cause, f"Try again in {pause:.0f} s.", pause)


def address_of(peer: str) -> str:
    """Whom a stranger's calls are counted for: an IPv4 address, or a /64 of IPv6. `peer` is as
    gRPC writes it: `ipv4:192.0.2.1:4711`, `ipv6:%5B2001:db8::1%5D:4711`."""
    host = urllib.parse.unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
