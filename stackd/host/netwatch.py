"""Notices when somebody else changes a node's network, as it happens.

Listens to the kernel's notifications in the data-plane namespace and in the host's; our own
changes and those of things we do not own are passed over. Used by `host.datapath` and
`host.switchkeeper`, whose check then repairs.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Collection, Sequence

from stackd.core.network import addressing
from stackd.host import routing, rtnl
from stackd.host.netlink import NETFILTER, ROUTE, NetlinkSocket, attributes, messages
from stackd.host.survey import Expected

_LINK, _NEIGHBOUR, _ADDRESS, _ROUTE, _RULE, _SETTINGS = 1, 3, 5, 7, 8, 24
PLANE = (_LINK, _NEIGHBOUR, _ADDRESS, _ROUTE, _RULE, _SETTINGS)
HOST = (_LINK, _ADDRESS, _ROUTE, _SETTINGS)
SWITCHED = (_LINK, _ADDRESS, _SETTINGS)
LINKS = (_LINK,)
"""Groups of notifications that matter there."""
_NFTABLES = 7
_NEWGEN = 0xA0F
Judge = Callable[[int, bytes], bool]
"""Kind and body of a routing message of somebody else -> whether to look."""


class Watch:
    """Made in the thread of the namespace; `listen` and everything after in the event loop."""

    def __init__(
        self, writer: int, own_ports: Collection[int], groups: Sequence[int], judge: Judge
    ) -> None:
        self._writer = writer
        """Thread whose nft transactions are our own."""
        self._own_ports = frozenset(own_ports)
        self._judge = judge
        self._route = NetlinkSocket(ROUTE, groups)
        self._nft = NetlinkSocket(NETFILTER, (_NFTABLES,))
        self._disturbed = asyncio.Event()

    def listen(self, disturbed: asyncio.Event) -> None:
        """Begin; `disturbed` is set when something of ours was changed by others."""
        self._disturbed = disturbed
        loop = asyncio.get_running_loop()
        for netlink, judge in ((self._route, self._judge_route), (self._nft, self._judge_nft)):
            netlink.socket.setblocking(False)
            loop.add_reader(netlink.socket.fileno(), self._read, netlink, judge)

    def close(self) -> None:
        """Stop and close the sockets."""
        loop = asyncio.get_running_loop()
        for netlink in (self._route, self._nft):
            loop.remove_reader(netlink.socket.fileno())
            netlink.close()

    def _read(self, netlink: NetlinkSocket, judge: Callable[[bytes], bool]) -> None:
        while not self._disturbed.is_set():
            try:
                data = netlink.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                self._disturbed.set()  # ENOBUFS: events were lost, so look
                return
            if judge(data):
                self._disturbed.set()
        with contextlib.suppress(OSError):
            while netlink.socket.recv(1 << 18):
                pass

    def _judge_nft(self, data: bytes) -> bool:
        for kind, _, _, _, body in messages(data):
            if kind == _NEWGEN:
                pid = attributes(body[4:]).get(2, b"")
                return int.from_bytes(pid, "big") != self._writer
        return False

    def _judge_route(self, data: bytes) -> bool:
        return any(
            self._judge(kind, body)
            for kind, _, _, port, body in messages(data)
            if port not in self._own_ports
        )


def plane(expected: Callable[[], Expected], uplink: Callable[[], str]) -> Judge:
    """Of a data plane; `expected` tells what should be there, `uplink` the address of its link to
    the host."""

    def judge(kind: int, body: bytes) -> bool:
        match kind:
            case rtnl.NEWLINK | rtnl.DELLINK:
                link = rtnl.parse_link(body)
                floods = link.name.startswith("v") and rtnl.floods(body)
                lost = kind == rtnl.DELLINK or not link.up or floods
                return lost and link.name in expected().names()
            case rtnl.DELADDR:
                gateways = {o.gateway for o in expected().wanted.overlays.values()}
                return _text(attributes(body[8:]).get(2, b"")) in gateways | {uplink()}
            case rtnl.DELNEIGH:
                return _entry(expected(), body)
            case rtnl.NEWNEIGH:
                return _replaced(expected(), body)
            case rtnl.DELRULE:
                return True
            case rtnl.NEWNETCONF:
                return _setting(body, forwarding=0) or _setting(body, rp_filter=1)
            case rtnl.DELROUTE:
                gone = routing.parse(body)
                own = {o.subnet for o in expected().wanted.overlays.values()}
                own |= {f"{o.gateway}/32" for o in expected().wanted.overlays.values()}
                return gone in own | _linked(uplink()) | {routing.DEFAULT}
            case _:
                return False

    return judge


def host(uplink: str, own: Callable[[], str], routes: Callable[[], Collection[str]]) -> Judge:
    """Of a host: its end of the uplink, its address there, the routes to the networks, whether it
    forwards."""

    def judge(kind: int, body: bytes) -> bool:
        match kind:
            case rtnl.NEWLINK | rtnl.DELLINK:
                link = rtnl.parse_link(body)
                return link.name == uplink and (kind == rtnl.DELLINK or not link.up)
            case rtnl.DELADDR:
                return _text(attributes(body[8:]).get(2, b"")) == own()
            case rtnl.DELROUTE:
                return routing.parse(body) in _linked(own()) | set(routes())
            case rtnl.NEWNETCONF:
                return _setting(body, forwarding=0)
            case _:
                return False

    return judge


def switched(link: str, own: str) -> Judge:
    """Of a machine with a link to the switch between embedded nodes, and its address there."""

    def judge(kind: int, body: bytes) -> bool:
        match kind:
            case rtnl.NEWLINK | rtnl.DELLINK:
                found = rtnl.parse_link(body)
                return found.name == link and (kind == rtnl.DELLINK or not found.up)
            case rtnl.DELADDR:
                return _text(attributes(body[8:]).get(2, b"")) == own
            case rtnl.NEWNETCONF:
                return _setting(body, forwarding=0)
            case _:
                return False

    return judge


def links(kind: int, body: bytes) -> bool:
    """Of the switch: whatever happens to a link there, at its other end too."""
    return kind in (rtnl.NEWLINK, rtnl.DELLINK) and body[0] != rtnl.AF_BRIDGE


def _entry(expected: Expected, body: bytes) -> bool:
    """Whether a neighbour or forwarding entry that went is one of ours."""
    fields = attributes(body[12:])
    if struct.unpack_from("=B", body)[0] == rtnl.AF_BRIDGE:
        macs = {port.mac for port in expected.ports.values()}
        macs |= {mac for _, mac in expected.wanted.forwarding}
        return fields.get(2, b"").hex(":") in macs
    addresses = {port.address for port in expected.ports.values()}
    addresses |= {address for _, address in expected.wanted.neighbours}
    return _text(fields.get(1, b"")) in addresses


def _replaced(expected: Expected, body: bytes) -> bool:
    """Whether somebody else has given one of our neighbours another MAC, or a time to live."""
    fields, (state,) = attributes(body[12:]), struct.unpack_from("=H", body, 8)
    if body[0] != socket.AF_INET:
        return False
    address, mac = _text(fields.get(1, b"")), fields.get(2, b"").hex(":")
    macs = {port.mac for port in expected.ports.values() if port.address == address}
    macs |= {m for (_, known), m in expected.wanted.neighbours.items() if known == address}
    return bool(macs) and (mac not in macs or not state & rtnl.PERMANENT)


def _linked(uplink: str) -> set[str]:
    """What the kernel routes by itself for an end of the uplink."""
    return {f"{uplink}/32", routing.subnet(uplink, addressing.UPLINK_PREFIX)}


def _setting(body: bytes, *, forwarding: int | None = None, rp_filter: int | None = None) -> bool:
    """Whether the message says that a setting of IPv4 now has this value."""
    if body[0] != socket.AF_INET:
        return False
    fields = attributes(body[4:])
    for kind, value in ((2, forwarding), (3, rp_filter)):
        if value is not None and fields.get(kind) == struct.pack("=i", value):
            return True
    return False


def _text(packed: bytes) -> str:
    return ".".join(str(byte) for byte in packed)
