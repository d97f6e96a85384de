"""Links, addresses, routes, neighbours and forwarding entries as rtnetlink messages.

Each function returns one `Message`; callers send them in batches. Used by `host.fabric`,
`host.taskns` and `host.uplink`.
"""

import ipaddress
import socket
import struct
from dataclasses import dataclass

from stackd.host.netlink import (
    CREATE,
    EXCL,
    REPLACE,
    Message,
    NetlinkError,
    NetlinkSocket,
    attr,
    attributes,
    nest,
    text,
    u8,
    u32,
)

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNETCONF = 80
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
NEWRULE, DELRULE, GETRULE = 32, 33, 34
UP = 1
AF_BRIDGE = 7

_IFNAME, _MTU, _MASTER, _PROTINFO, _LINKINFO, _NET_NS_FD, _ADDRESS = 3, 4, 10, 12, 18, 28, 1
_NTF_SELF, _NTF_MASTER, PERMANENT, _NOARP = 2, 4, 0x80, 0x40
_MAIN, _STATIC, _UNIVERSE, _LINK, _UNICAST = 254, 4, 0, 253, 1
PORT_LEARNING, PORT_FLOOD, PORT_MCAST, PORT_BCAST, PORT_ISOLATED, PORT_LOCKED = 8, 9, 27, 30, 33, 39


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel shows it. `master` is an index, 0 without one."""

    index: int
    name: str
    up: bool
    master: int
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair to be made: this end, and the other in the namespace `peer_ns`."""

    name: str
    peer: str
    peer_ns: int
    mtu: int
    mac: str = ""
    peer_mac: str = ""
    master: int = 0


def packed_mac(mac: str) -> bytes:
    """Six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def packed_ip(address: str) -> bytes:
    """Four bytes."""
    return ipaddress.IPv4Address(address).packed


def _ifinfo(index: int = 0, flags: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, flags)


def add_bridge(name: str, mac: str, mtu: int) -> Message:
    """A bridge, up, without spanning tree, forward delay or multicast snooping."""
    kind = nest(_LINKINFO, text(1, "bridge"), nest(2, u32(1, 0), u32(5, 0), u8(23, 0)))
    names = text(_IFNAME, name) + attr(_ADDRESS, packed_mac(mac)) + u32(_MTU, mtu)
    return Message(NEWLINK, CREATE | EXCL, _ifinfo(0, UP) + names + kind)


def add_vxlan(name: str, vni: int, local: str, port: int) -> Message:
    """A VXLAN device without learning, down; its socket stays where it is made."""
    options = (
        u32(1, vni)
        + attr(4, packed_ip(local))
        + u8(5, 64)
        + u8(7, 0)
        + attr(15, struct.pack("!H", port))
    )
    kind = nest(_LINKINFO, text(1, "vxlan"), nest(2, options))
    return Message(NEWLINK, CREATE | EXCL, _ifinfo() + text(_IFNAME, name) + kind)


def add_veth(veth: Veth) -> Message:
    """A pair, this end up. The other cannot be made up."""
    peer = _ifinfo() + text(_IFNAME, veth.peer) + u32(_MTU, veth.mtu)
    peer += u32(_NET_NS_FD, veth.peer_ns)
    if veth.peer_mac:
        peer += attr(_ADDRESS, packed_mac(veth.peer_mac))
    body = _ifinfo(0, UP) + text(_IFNAME, veth.name) + u32(_MTU, veth.mtu)
    if veth.master:
        body += u32(_MASTER, veth.master)
    kind = nest(_LINKINFO, text(1, "veth"), nest(2, nest(1, peer)))
    return Message(NEWLINK, CREATE | EXCL, body + kind)


def move(index: int, namespace: int, name: str) -> Message:
    """Move a link into another namespace under a new name."""
    return Message(SETLINK, 0, _ifinfo(index) + u32(_NET_NS_FD, namespace) + text(_IFNAME, name))


def set_up(index: int, *, mtu: int = 0, master: int = 0, mac: str = "") -> Message:
    """Bring a link up, with what else is given."""
    body = _ifinfo(index, UP)
    body += u32(_MTU, mtu) if mtu else b""
    body += u32(_MASTER, master) if master else b""
    body += attr(_ADDRESS, packed_mac(mac)) if mac else b""
    return Message(SETLINK, 0, body)


def set_down(index: int) -> Message:
    """Take a link down."""
    return Message(SETLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, UP))


def delete_link(index: int) -> Message:
    """Delete a link by index."""
    return Message(DELLINK, 0, _ifinfo(index))


def port_flags(index: int, *, task: bool) -> Message:
    """A bridge port that neither learns nor floods; a task's is isolated and locked too."""
    flags = [
        u8(4, 0),
        u8(PORT_LEARNING, 0),
        u8(PORT_FLOOD, 0),
        u8(PORT_MCAST, 0),
        u8(PORT_BCAST, 0),
    ]
    if task:
        flags += [u8(PORT_ISOLATED, 1), u8(PORT_LOCKED, 1)]
    return Message(SETLINK, 0, _ifinfo(index, 0, AF_BRIDGE) + nest(_PROTINFO, *flags))


def add_address(index: int, address: str, prefix: int) -> Message:
    """An IPv4 address on a link."""
    return Message(NEWADDR, CREATE | REPLACE, _address(index, address, prefix))


def delete_address(index: int, address: str, prefix: int) -> Message:
    """Take that address off the link."""
    return Message(DELADDR, 0, _address(index, address, prefix))


def _address(index: int, address: str, prefix: int) -> bytes:
    packed = packed_ip(address)
    body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index)
    return body + attr(2, packed) + attr(1, packed)


@dataclass(frozen=True, slots=True)
class Route:
    """`destination` in CIDR form over link `index`; on-link without `via`."""

    destination: str
    index: int
    via: str = ""


def add_route(route: Route) -> Message:
    """A route in the main table."""
    return Message(NEWROUTE, CREATE | REPLACE, _route(route))


def delete_route(route: Route) -> Message:
    """Remove that route."""
    return Message(DELROUTE, 0, _route(route))


def _route(route: Route) -> bytes:
    net = ipaddress.IPv4Network(route.destination)
    scope = _UNIVERSE if route.via else _LINK
    body = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, net.prefixlen, 0, 0, _MAIN, _STATIC, scope, _UNICAST, 0
    )
    if net.prefixlen:
        body += attr(1, net.network_address.packed)
    if route.via:
        body += attr(5, packed_ip(route.via))
    return body + u32(4, route.index)


def add_neighbour(index: int, address: str, mac: str) -> Message:
    """A permanent neighbour entry."""
    body = struct.pack("=BxxxiHBB", socket.AF_INET, index, PERMANENT, 0, 0)
    return Message(
        NEWNEIGH, CREATE | REPLACE, body + attr(1, packed_ip(address)) + attr(2, packed_mac(mac))
    )


def delete_neighbour(index: int, address: str) -> Message:
    """Remove a neighbour entry."""
    body = struct.pack("=BxxxiHBB", socket.AF_INET, index, 0, 0, 0)
    return Message(DELNEIGH, 0, body + attr(1, packed_ip(address)))


def add_forwarding(index: int, mac: str) -> Message:
    """On the bridge: this MAC is behind the port `index`."""
    body = struct.pack("=BxxxiHBB", AF_BRIDGE, index, _NOARP, _NTF_MASTER, 0)
    return Message(NEWNEIGH, CREATE | REPLACE, body + attr(2, packed_mac(mac)))


def delete_forwarding(index: int, mac: str, *, tunnel: bool = False) -> Message:
    """Remove an entry of the bridge, or with `tunnel` of the VXLAN device itself."""
    flags = _NTF_SELF if tunnel else _NTF_MASTER
    body = struct.pack("=BxxxiHBB", AF_BRIDGE, index, 0, flags, 0)
    return Message(DELNEIGH, 0, body + attr(2, packed_mac(mac)))


def add_tunnel(index: int, mac: str, node: str) -> Message:
    """On a VXLAN device: this MAC is at the node with this underlay address."""
    body = struct.pack("=BxxxiHBB", AF_BRIDGE, index, PERMANENT, _NTF_SELF, 0)
    return Message(
        NEWNEIGH, CREATE | REPLACE, body + attr(2, packed_mac(mac)) + attr(1, packed_ip(node))
    )


def parse_link(body: bytes) -> Link:
    """A link from the body of a NEWLINK or DELLINK message."""
    index, flags = struct.unpack_from("=iI", body, 4)
    found = attributes(body[16:])
    master = found.get(_MASTER)
    return Link(
        index=index,
        name=found.get(_IFNAME, b"").rstrip(b"\0").decode(),
        up=bool(flags & UP),
        master=struct.unpack("=I", master)[0] if master else 0,
        mac=found.get(_ADDRESS, b"").hex(":"),
        mtu=struct.unpack("=I", found.get(_MTU, b"\0" * 4))[0],
    )


def floods(body: bytes) -> bool:
    """Whether a link message shows a bridge port that floods; only the bridge's own do."""
    flags = attributes(attributes(body[16:]).get(_PROTINFO, b""))
    return body[0] == AF_BRIDGE and flags.get(PORT_FLOOD) == b"\1"


def links(netlink: NetlinkSocket) -> dict[str, Link]:
    """All links of the socket's namespace, by name."""
    found = [parse_link(m.body) for m in netlink.dump(Message(GETLINK, 0, _ifinfo()))]
    return {link.name: link for link in found}


def find(netlink: NetlinkSocket, name: str) -> Link | None:
    """One link by name, or None."""
    try:
        answer = netlink.get(Message(GETLINK, 0, _ifinfo() + text(_IFNAME, name)))
    except NetlinkError:
        return None
    return parse_link(answer.body)


def need(netlink: NetlinkSocket, name: str) -> int:
    """The index of a link that must be there. Raises NetlinkError."""
    return parse_link(netlink.get(Message(GETLINK, 0, _ifinfo() + text(_IFNAME, name))).body).index
