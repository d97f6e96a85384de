"""Tracked connections of the data-plane namespace: counted while draining, deleted when an
address leaves, so that no packet follows a dead path. Used by `host.plane`, in
the thread of that namespace.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stackd.core.network import elements
from stackd.host.netlink import (
    NETFILTER,
    Message,
    NetlinkSocket,
    attr,
    attributes,
    nest,
)

_GET, _DELETE = 0x101, 0x102
_ORIGINAL, _REPLY, _PROTOINFO, _ID, _FILTER = 1, 2, 4, 12, 25
_FAMILY = struct.pack("!BBH", socket.AF_INET, 0, 0)
_LAST_LIVE_STATE = 5  # up to CLOSE_WAIT both sides may still have something to say
_SOURCE, _SOURCE_END = 16, 20
"""Where the client's address stands, after the family, two nests and a head of 4 bytes each."""
_DST_NAT = struct.pack("!I", 1 << 5)
_TRANSLATED = attr(3, _DST_NAT) + attr(26, _DST_NAT)
"""Status and its mask: only flows whose destination was translated. Older kernels give all."""


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
        for flow in self._flows(counts, _TRANSLATED):
            if flow.through_vip and flow.live and flow.server in counts:
                counts[flow.server] += 1
        return {socket.inet_ntoa(packed): n for packed, n in counts.items()}

    def forget(self, addresses: Collection[str], backends: Collection[tuple[str, str]]) -> int:
        """Delete all that is tracked from or to these addresses, and the UDP flows of these
        (virtual address, backend) pairs, whose clients would stay with the backend as long as
        they send; how many. Raises NetlinkError."""
        left = {elements.address(a) for a in addresses}
        pairs = {(elements.address(vip), elements.address(b)) for vip, b in backends}
        concerned = left | {backend for _, backend in pairs}
        if not concerned:
            return 0
        only = b"" if left else _TRANSLATED
        requests = [
            Message(_DELETE, 0, _FAMILY + nest(_ORIGINAL, f.original) + attr(_ID, f.id))
            for f in self._flows(concerned, only)
            if f.client in left
            or f.server in left
            or (f.protocol == socket.IPPROTO_UDP and (f.target, f.server) in pairs)
        ]
        for error in self._netlink.results(requests):
            if error is not None and error.errno != errno.ENOENT:
                raise error
        return len(requests)

    def _flows(self, concerned: Collection[bytes], wanted: bytes = b"") -> Iterator[Flow]:
        """The flows from or to these packed addresses. The kernel goes through all its buckets
        for a dump, whatever is asked for, so there is one dump for all addresses; `wanted` are
        attributes that leave out flows, if the kernel knows them. There may be many thousands of
        others, so that those are told apart before anything is parsed."""
        for answer in self._netlink.dump(Message(_GET, 0, _FAMILY + wanted)):
            body = answer.body
            client, server = _ends(body)
            if client not in concerned and server not in concerned:
                continue
            flow = _parse(body[4:])
            if flow is not None:
                yield flow


def _ends(body: bytes) -> tuple[bytes, bytes]:
    """Who asks and who answers. The kernel writes the original direction first, then the reply,
    each beginning with its addresses."""
    (size,) = struct.unpack_from("=H", body, 4)
    reply = 4 + ((size + 3) & ~3)
    return body[_SOURCE:_SOURCE_END], body[reply + _SOURCE - 4 : reply + _SOURCE_END - 4]


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
