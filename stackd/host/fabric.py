"""The links of one data-plane namespace: bridges, VXLAN devices, neighbours, tasks' links.

Remembers what it made, sends the kernel differences only, and can compare and repair. All calls
come from the data plane's thread, by `host.plane`.
"""

import errno
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stackd.core.network import addressing, links, naming
from stackd.core.network.links import Overlay, Wanted
from stackd.errors import Refused, Rejected, Unavailable
from stackd.host import routing, rtnl, survey, taskns
from stackd.host.netlink import ROUTE, Message, NetlinkError, NetlinkSocket
from stackd.host.taskns import Interface, TaskNamespace

_GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH)


@dataclass(frozen=True, slots=True)
class Underlay:
    """What VXLAN devices need of the host: a socket in its namespace, an address, a port, and
    the cluster's id for names."""

    netlink: NetlinkSocket
    address: str
    port: int
    cluster: str


@dataclass(frozen=True, slots=True)
class Attached:
    """A task's namespace and its interfaces."""

    namespace: TaskNamespace
    interfaces: tuple[Interface, ...]


class Fabric:
    """See the module. `tasks` and `wanted` are what should be, for others to read."""

    def __init__(self, namespace: int, underlay: Underlay) -> None:
        self._fd = namespace
        self._underlay = underlay
        self._netlink = NetlinkSocket(ROUTE)
        self._index: dict[str, int] = {}
        self._looked = False
        self._changes = 0
        self._expected = (-1, survey.Expected(Wanted()))
        self.wanted = Wanted()
        self.tasks: dict[str, Attached] = {}

    @property
    def port_id(self) -> int:
        """The netlink port whose changes are our own."""
        return int(self._netlink.socket.getsockname()[0])

    def close(self) -> None:
        """Close sockets; everything stays."""
        for attached in self.tasks.values():
            attached.namespace.close()
        self._netlink.close()

    # networks

    def apply(self, wanted: Wanted) -> None:
        """Make the networks, peers and neighbours true. A network that cannot be made is left
        out and the others are carried through. Raises Unavailable, naming it, then."""
        before = self.wanted
        changed = {n for n, o in wanted.overlays.items() if before.overlays.get(n) != o}
        failed: dict[str, str] = {}
        try:
            self._drop_networks(wanted)
            for network in sorted(changed):
                try:
                    self._add_network(wanted.overlays[network])
                except (NetlinkError, Unavailable) as error:
                    failed[network] = str(error)
            self.wanted = links.without(wanted, failed.keys())
            self._changes += 1
            self._entries(before, changed - failed.keys())
            for task, attached in self.tasks.items():
                if changed & {i.network for i in attached.interfaces}:
                    self.plug(task)
        except OSError as error:
            raise Unavailable(f"The networks cannot be set up: {error}.") from error
        if failed:
            raise Unavailable(" ".join(f"Network {n}: {why}" for n, why in failed.items()))

    def _drop_networks(self, wanted: Wanted) -> None:
        keep = {name for o in wanted.overlays.values() for name in (o.bridge, o.vxlan)}
        changed = [o for n, o in self.wanted.overlays.items() if wanted.overlays.get(n) != o]
        stale = {name for o in changed for name in (o.bridge, o.vxlan)}
        if self._looked and self.wanted.overlays == wanted.overlays:
            return
        self._looked = True
        for name, link in rtnl.links(self._netlink).items():
            if name[0] in "bv" and (name not in keep or name in stale):
                self._netlink.request([rtnl.delete_link(link.index)], ignore=_GONE)
                self._index.pop(name, None)

    def _add_network(self, overlay: Overlay) -> None:
        bridge = rtnl.find(self._netlink, overlay.bridge)
        if bridge is not None and (bridge.mac != overlay.mac or bridge.mtu != overlay.mtu):
            self._netlink.request([rtnl.delete_link(bridge.index)], ignore=_GONE)
            bridge = None
        if bridge is None:
            self._netlink.request([rtnl.add_bridge(overlay.bridge, overlay.mac, overlay.mtu)])
        index = self._index[overlay.bridge] = rtnl.need(self._netlink, overlay.bridge)
        self._netlink.request([rtnl.set_up(index)])
        routing.set_address(self._netlink, index, overlay.gateway, overlay.prefix)
        if rtnl.find(self._netlink, overlay.vxlan) is None:
            self._add_vxlan(overlay)
        device = self._index[overlay.vxlan] = rtnl.need(self._netlink, overlay.vxlan)
        up = rtnl.set_up(device, mtu=overlay.mtu, master=index)
        try:
            self._netlink.request([up, rtnl.port_flags(device, task=False)])
        except NetlinkError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Unavailable(
                f"UDP port {self._underlay.port} for VXLAN is taken by another process.",
                "Free it, or start the cluster with another VXLAN port.",
            ) from error

    def _add_vxlan(self, overlay: Overlay) -> None:
        """Made in the host's namespace, where its socket stays, and moved."""
        host = self._underlay.netlink
        name = naming.host_vxlan(self._underlay.cluster, overlay.id)
        if (stale := rtnl.find(host, name)) is not None:
            host.request([rtnl.delete_link(stale.index)], ignore=_GONE)
        port, local = self._underlay.port, self._underlay.address
        try:
            host.request([rtnl.add_vxlan(name, overlay.vni, local, port)])
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            raise Unavailable(
                f"VNI {overlay.vni} of network {overlay.id} is in use on this host.",
                "Remove the other VXLAN device, or let the network have another VNI.",
            ) from error
        host.request([rtnl.move(rtnl.need(host, name), self._fd, overlay.vxlan)])

    def _entries(self, before: Wanted, changed: Iterable[str]) -> None:
        """Send what differs of forwarding and neighbour entries; all of `changed` networks."""
        fresh, wanted, requests = set(changed), self.wanted, list[Message]()
        for (network, mac), node in wanted.forwarding.items():
            if network in fresh or before.forwarding.get((network, mac)) != node:
                device = self._index[wanted.overlays[network].vxlan]
                requests.append(rtnl.add_forwarding(device, mac))
                requests.append(rtnl.add_tunnel(device, mac, node))
        for (network, address), mac in wanted.neighbours.items():
            if network in fresh or before.neighbours.get((network, address)) != mac:
                bridge = self._index[wanted.overlays[network].bridge]
                requests.append(rtnl.add_neighbour(bridge, address, mac))
        self._netlink.request(requests)
        self._netlink.request(self._leaving(before), ignore=_GONE)

    def _leaving(self, before: Wanted) -> list[Message]:
        requests = []
        local = {(i.network, i.address) for a in self.tasks.values() for i in a.interfaces}
        for network, mac in before.forwarding.keys() - self.wanted.forwarding.keys():
            if (overlay := self.wanted.overlays.get(network)) is not None:
                device = self._index[overlay.vxlan]
                requests.append(rtnl.delete_forwarding(device, mac))
                requests.append(rtnl.delete_forwarding(device, mac, tunnel=True))
        for network, address in before.neighbours.keys() - self.wanted.neighbours.keys() - local:
            if (overlay := self.wanted.overlays.get(network)) is not None:
                bridge = self._index[overlay.bridge]
                requests.append(rtnl.delete_neighbour(bridge, address))
        return requests

    # tasks

    def interfaces(self, addresses: Mapping[str, str]) -> tuple[Interface, ...]:
        """A task's interfaces in the order of its networks' ids. Raises Rejected."""
        for network in addresses:
            if network not in self.wanted.overlays:
                raise Rejected(
                    f"Network {network} is not set up on this node.",
                    "Look at `stackd why` for what the node reports.",
                )
        ordered = enumerate(sorted(addresses))
        return tuple(Interface(n, network, addresses[network]) for n, network in ordered)

    def plug(self, task: str, *, fresh: bool = False) -> None:
        """Give a task's namespace its links and this side its entries; what is there already is
        kept (nothing is when `fresh`). Raises OSError."""
        attached = self.tasks[task]
        self._changes += 1
        ends = self._ends(attached)
        for interface, overlay in ends:
            name = links.port_name(task, interface.position)
            bridge = self._index[overlay.bridge]
            port = None if fresh else rtnl.find(self._netlink, name)
            if port is None or not survey.has_link(attached.namespace, interface):
                link = taskns.veth(name, attached.namespace, (interface, overlay), bridge)
                taskns.add_link(self._netlink, link)
            elif not port.up or port.master != bridge:
                self._netlink.request([rtnl.set_up(port.index, master=bridge)])
            index = self._index[name] = socket.if_nametoindex(name)
            mac = addressing.task_mac(interface.address)
            self._netlink.request(
                [
                    rtnl.port_flags(index, task=True),
                    rtnl.add_forwarding(index, mac),
                    rtnl.add_neighbour(bridge, interface.address, mac),
                ]
            )
        taskns.set_inside(attached.namespace, ends)

    def _ends(self, attached: Attached) -> list[tuple[Interface, Overlay]]:
        overlays = self.wanted.overlays
        return [(i, overlays[i.network]) for i in attached.interfaces if i.network in overlays]

    def unplug(self, task: str) -> Attached | None:
        """Forget a task and remove its entries here; its links go with its namespace."""
        attached = self.tasks.pop(task, None)
        self._changes += 1
        if attached is None:
            return None
        requests = []
        for interface, overlay in self._ends(attached):
            mac, bridge = addressing.task_mac(interface.address), self._index[overlay.bridge]
            if (port := self._index.pop(links.port_name(task, interface.position), 0)) != 0:
                requests.append(rtnl.delete_forwarding(port, mac))
            if (interface.network, interface.address) not in self.wanted.neighbours:
                requests.append(rtnl.delete_neighbour(bridge, interface.address))
        self._netlink.request(requests, ignore=(*_GONE, errno.EINVAL))
        return attached

    # repair

    def sweep(self) -> set[str]:
        """Remove entries for other nodes that an earlier agent left and nobody wants; the
        addresses that went. Raises NetlinkError."""
        wanted, overlays = self.wanted, self.wanted.overlays
        keep = {(self._index[overlays[n].bridge], a) for n, a in wanted.neighbours}
        for attached in self.tasks.values():
            keep |= {(self._index[o.bridge], i.address) for i, o in self._ends(attached)}
        bridges = {self._index[o.bridge] for o in overlays.values()}
        gone = {e for e in survey.neighbour_entries(self._netlink) if e[0] in bridges} - keep
        requests = [rtnl.delete_neighbour(*entry) for entry in gone]
        tunnels = {(self._index[overlays[n].vxlan], mac) for n, mac in wanted.forwarding}
        devices = {self._index[o.vxlan] for o in overlays.values()}
        found = {(index, mac) for index, mac, _ in survey.forwarding_entries(self._netlink)}
        for index, mac in found - tunnels:
            if index in devices and mac.startswith("02:00:"):
                requests.append(rtnl.delete_forwarding(index, mac))
                requests.append(rtnl.delete_forwarding(index, mac, tunnel=True))
        self._netlink.request(requests, ignore=_GONE)
        return {address for _, address in gone}

    def expected(self) -> survey.Expected:
        """What a dump of the kernel should show. Asked for by the watch's thread too, once for
        each link and entry that goes, so that it is worked out only after changes."""
        changes, (known, expected) = self._changes, self._expected
        if known == changes:
            return expected
        expected = survey.Expected(self.wanted)
        for task, attached in list(self.tasks.items()):
            for interface, overlay in self._ends(attached):
                name = links.port_name(task, interface.position)
                expected.add_port(name, task, overlay, interface.address)
        self._expected = (changes, expected)
        return expected

    def verify(self) -> list[str]:
        """Compare with the kernel and repair; one sentence each. Raises Unavailable."""
        expected = self.expected()
        try:
            rules = routing.mend_rules(self._netlink)
            faults = survey.compare(self._netlink, expected)
            for overlay in faults.networks:
                self._add_network(overlay)
            touched = {overlay.id for overlay in faults.networks}
            if touched or faults.entries:
                self._entries(Wanted(), ())
            for task, attached in self.tasks.items():
                if task in faults.tasks or touched & {i.network for i in attached.interfaces}:
                    self.plug(task)
            stale = [rtnl.delete_link(index) for index in faults.strays]
            self._netlink.request(stale, ignore=_GONE)
        except (OSError, Refused) as error:
            raise Unavailable(f"A network cannot be repaired: {error}.") from error
        lost = "A rule that leads to a table of routes had been removed and was set again."
        return [*([lost] if rules else []), *faults.sentences]
