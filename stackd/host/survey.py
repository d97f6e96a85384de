"""What the kernel shows of a data-plane namespace against what it should: the faults.

Used by `host.fabric` to repair and by `host.netwatch` to know which events matter.
"""

import ipaddress
import struct
from dataclasses import dataclass, field

from stackd.core.network import addressing, naming
from stackd.core.network.links import Overlay, Wanted
from stackd.host import routing, rtnl
from stackd.host.netlink import Message, NetlinkSocket, attributes
from stackd.host.rtnl import Link
from stackd.host.taskns import Interface, TaskNamespace


@dataclass(frozen=True, slots=True)
class Port:
    """A task's port as it should be."""

    task: str
    bridge: str
    address: str
    mac: str


@dataclass(slots=True)
class Expected:
    """Everything that should be there."""

    wanted: Wanted
    ports: dict[str, Port] = field(default_factory=dict)

    def add_port(self, name: str, task: str, overlay: Overlay, address: str) -> None:
        """One more port of a task."""
        self.ports[name] = Port(task, overlay.bridge, address, addressing.task_mac(address))

    def names(self) -> frozenset[str]:
        """Names of all links, the uplink too."""
        overlays = self.wanted.overlays.values()
        links = {name for o in overlays for name in (o.bridge, o.vxlan)}
        return frozenset((*self.ports, *links, naming.UPLINK))


@dataclass(slots=True)
class Faults:
    """What is wrong: networks and tasks to set up again, whether entries are missing, links
    (indexes) that belong to nothing, and all of it in sentences."""

    networks: list[Overlay] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    entries: bool = False
    strays: list[int] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def compare(netlink: NetlinkSocket, expected: Expected) -> Faults:
    """Dump links, addresses and neighbours, and compare. Raises NetlinkError."""
    faults = Faults()
    links = rtnl.links(netlink)
    addresses = {(index, address) for index, address, _ in address_entries(netlink)}
    flags, routes = _port_flags(netlink), routing.routes(netlink)
    for overlay in expected.wanted.overlays.values():
        problem = _network_fault(overlay, links, addresses)
        vxlan = links.get(overlay.vxlan)
        if vxlan is not None and _set(flags.get(vxlan.index, {}), rtnl.PORT_FLOOD):
            problem = "its VXLAN port flooded"
        bridge = links.get(overlay.bridge)
        if not problem and bridge is not None and not _routed(overlay, bridge, routes):
            problem = "its route had been removed"
        if problem:
            faults.networks.append(overlay)
            faults.sentences.append(f"Network {overlay.id} was set up again: {problem}.")
    for name, port in expected.ports.items():
        if problem := _port_fault(links.get(name), links.get(port.bridge), flags):
            faults.tasks.add(port.task)
            faults.sentences.append(f"Task {port.task} was connected again: {problem}.")
    known = expected.names()
    for name, link in links.items():
        if name[0] == "t" and name not in known:
            faults.strays.append(link.index)
    _entry_faults(netlink, expected, links, faults)
    return faults


def _network_fault(
    overlay: Overlay, links: dict[str, Link], addresses: set[tuple[int, str]]
) -> str:
    bridge, vxlan = links.get(overlay.bridge), links.get(overlay.vxlan)
    if bridge is None or vxlan is None:
        return "a link had been deleted"
    if not bridge.up or not vxlan.up:
        return "a link had been set down"
    if vxlan.master != bridge.index:
        return "its VXLAN device had left the bridge"
    if bridge.mac != overlay.mac or bridge.mtu != overlay.mtu:
        return "its bridge had been changed"
    if (bridge.index, overlay.gateway) not in addresses:
        return "its gateway address had been removed"
    return ""


def _routed(overlay: Overlay, bridge: Link, routes: set[routing.Found]) -> bool:
    return routing.whole(routes, bridge.index, overlay.gateway, overlay.prefix)


def _port_fault(port: Link | None, bridge: Link | None, flags: dict[int, dict[int, bytes]]) -> str:
    if port is None:
        return "its link had been deleted"
    if bridge is None or port.master != bridge.index:
        return "its link had left the bridge"
    if not port.up:
        return "its link had been set down"
    if not _set(flags.get(port.index, {}), rtnl.PORT_ISOLATED, rtnl.PORT_LOCKED):
        return "its port's protection had been removed"
    return ""


def _entry_faults(
    netlink: NetlinkSocket, expected: Expected, links: dict[str, Link], faults: Faults
) -> None:
    neighbours, forwarding = neighbour_entries(netlink), forwarding_entries(netlink)
    wanted, overlays = expected.wanted, expected.wanted.overlays
    for (network, address), mac in wanted.neighbours.items():
        bridge = links.get(overlays[network].bridge)
        if bridge is not None and neighbours.get((bridge.index, address)) != mac:
            faults.entries = True
    for (network, mac), node in wanted.forwarding.items():
        vxlan = links.get(overlays[network].vxlan)
        if vxlan is None:
            continue
        if not {(vxlan.index, mac, ""), (vxlan.index, mac, node)} <= forwarding:
            faults.entries = True
    if faults.entries:
        faults.sentences.append("Entries for other nodes had been lost and were set again.")
    for name, port in expected.ports.items():
        link, bridge = links.get(name), links.get(port.bridge)
        if link is None or bridge is None or port.task in faults.tasks:
            continue
        entry = neighbours.get((bridge.index, port.address)) == port.mac
        if not entry or (link.index, port.mac, "") not in forwarding:
            faults.tasks.add(port.task)
            faults.sentences.append(
                f"Entries of task {port.task} had been lost and were set again."
            )


def has_link(namespace: TaskNamespace, interface: Interface) -> bool:
    """Whether the task's side of an interface is there."""
    return rtnl.find(namespace.netlink, f"eth{interface.position}") is not None


def address_entries(netlink: NetlinkSocket) -> list[tuple[int, str, int]]:
    """(link index, IPv4 address, prefix length) of all addresses."""
    found = []
    for answer in netlink.dump(Message(rtnl.GETADDR, 0, struct.pack("=BBBBI", 2, 0, 0, 0, 0))):
        prefix, index = answer.body[1], struct.unpack_from("=I", answer.body, 4)[0]
        fields = attributes(answer.body[8:])
        packed = fields.get(2) or fields.get(1)
        if packed and len(packed) == 4:
            found.append((index, str(ipaddress.IPv4Address(packed)), prefix))
    return found


def _port_flags(netlink: NetlinkSocket) -> dict[int, dict[int, bytes]]:
    """Link index -> flags of all bridge ports."""
    header = struct.pack("=BxHiII", rtnl.AF_BRIDGE, 0, 0, 0, 0)
    found = {}
    for answer in netlink.dump(Message(rtnl.GETLINK, 0, header)):
        index = struct.unpack_from("=i", answer.body, 4)[0]
        found[index] = attributes(attributes(answer.body[16:]).get(12, b""))
    return found


def _set(flags: dict[int, bytes], *wanted: int) -> bool:
    return all(flags.get(kind) == b"\1" for kind in wanted)


def neighbour_entries(netlink: NetlinkSocket) -> dict[tuple[int, str], str]:
    """(link index, address) -> MAC of all permanent neighbours."""
    found = {}
    for answer in netlink.dump(Message(rtnl.GETNEIGH, 0, struct.pack("=BxxxiHBB", 2, 0, 0, 0, 0))):
        index, state = struct.unpack_from("=iH", answer.body, 4)
        fields = attributes(answer.body[12:])
        if state & rtnl.PERMANENT and 2 in fields:
            found[index, str(ipaddress.IPv4Address(fields[1]))] = fields[2].hex(":")
    return found


def forwarding_entries(netlink: NetlinkSocket) -> set[tuple[int, str, str]]:
    """(link index, MAC, address of the other end or '') of all forwarding entries: a bridge's
    have none, a VXLAN device's tell the node."""
    found = set()
    header = struct.pack("=BxxxiHBB", rtnl.AF_BRIDGE, 0, 0, 0, 0)
    for answer in netlink.dump(Message(rtnl.GETNEIGH, 0, header)):
        index = struct.unpack_from("=i", answer.body, 4)[0]
        fields = attributes(answer.body[12:])
        node = str(ipaddress.IPv4Address(fields[1])) if len(fields.get(1, b"")) == 4 else ""
        found.add((index, fields.get(2, b"").hex(":"), node))
    return found
