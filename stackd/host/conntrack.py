"""Tracked connections of the data-plane namespace: counted while draining, deleted when an
address leaves, so that no packet follows a dead path. Used by `host.datapath`, in its thread.
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from stackd.core.network import elements
from stackd.host.netlink import (
    NETFILTER,
    Message,
    NetlinkError,
    NetlinkSocket,
    attr,
    attributes,
    nest,
    u32,
)

_GET, _DELETE = 0x101, 0x102
_ORIGINAL, _REPLY, _PROTOINFO, _ID, _FILTER = 1, 2, 4, 12, 25
_FAMILY = struct.pack("!BBH", socket.AF_INET, 0, 0)
_LAST_LIVE_STATE = 5  # up to CLOSE_WAIT both sides may still have something to say
_FEW = 8


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked connection. Addresses are packed; `server` is who really answers."""

    protocol: int
    client: bytes
    target: bytes
    server: bytes
    tcp_state: int
    original: bytes
    id: bytes

    @property
    def through_vip(self) -> bool:
        """Whether its destination was translated."""
        return self.target != self.server

    @property
    def live(self) -> bool:
        """A TCP connection that has not ended."""
        return self.protocol == socket.IPPROTO_TCP and 1 <= self.tcp_state <= _LAST_LIVE_STATE


class Conntrack:
    """The connection table of the namespace the making thread is in."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def count(self, addresses: Collection[str]) -> dict[str, int]:
        """Address -> live TCP connections that reached it through a virtual address."""
        counts = {elements.address(a): 0 for a in addresses}
        for flow in self._to_servers(list(counts)):
            if flow.through_vip and flow.live and flow.server in counts:
                counts[flow.server] += 1
        return {socket.inet_ntoa(packed): n for packed, n in counts.items()}

    def forget(self, addresses: Collection[str]) -> int:
        """Delete everything tracked from or to these addresses; how many entries."""
        packed = {elements.address(a) for a in addresses}
        if not packed:
            return 0
        flows = self._to_servers(list(packed))
        if len(packed) <= _FEW:
            for one in packed:
                flows += self._dump(_tuple_filter(_ORIGINAL, one))
        unique = {flow.original: flow for flow in flows}
        return self._delete(unique.values(), lambda f: f.client in packed or f.server in packed)

    def forget_udp(self, left: Collection[tuple[str, str]]) -> int:
        """Delete UDP flows of these (virtual address, backend) pairs, whose clients would stay
        with the backend as long as they send; how many entries."""
        pairs = {(elements.address(vip), elements.address(backend)) for vip, backend in left}
        if not pairs:
            return 0
        flows = self._to_servers(list({backend for _, backend in pairs}))
        return self._delete(
            flows,
            lambda f: f.protocol == socket.IPPROTO_UDP and (f.target, f.server) in pairs,
        )

    def _to_servers(self, servers: list[bytes]) -> list[Flow]:
        """Flows answered by these addresses; may hold others when there are many."""
        if len(servers) > _FEW:
            return self._dump(b"")
        return [f for one in servers for f in self._dump(_tuple_filter(_REPLY, one))]

    def _dump(self, narrowed: bytes) -> list[Flow]:
        answers = self._netlink.dump(Message(_GET, 0, _FAMILY + narrowed))
        return [flow for answer in answers if (flow := _parse(answer.body[4:])) is not None]

    def _delete(self, flows: Iterable[Flow], chosen: Callable[[Flow], bool]) -> int:
        requests = [
            Message(_DELETE, 0, _FAMILY + nest(_ORIGINAL, f.original) + attr(_ID, f.id))
            for f in flows
            if chosen(f)
        ]
        for error in self._netlink.results(requests):
            if error is not None and error.errno != errno.ENOENT:
                raise NetlinkError(error.errno or 0, error.index, error.strerror or "")
        return len(requests)


def _tuple_filter(direction: int, source: bytes) -> bytes:
    """Ask the kernel for flows with this source in one direction; older kernels send all."""
    flags = (1, 0) if direction == _ORIGINAL else (0, 1)
    return nest(direction, nest(1, attr(1, source))) + nest(
        _FILTER, u32(1, flags[0]), u32(2, flags[1])
    )


def _parse(body: bytes) -> Flow | None:
    fields = attributes(body)
    original = attributes(fields[_ORIGINAL])
    addresses = attributes(original[1])
    if 1 not in addresses:
        return None
    reply = attributes(attributes(fields[_REPLY])[1])
    tcp = attributes(attributes(fields.get(_PROTOINFO, b"")).get(1, b""))
    return Flow(
        protocol=attributes(original[2])[1][0],
        client=addresses[1],
        target=addresses[2],
        server=reply[1],
        tcp_state=tcp[1][0] if 1 in tcp else 0,
        original=fields[_ORIGINAL],
        id=fields.get(_ID, b""),
    )
