"""The network between embedded nodes: a bridge in a namespace of its own, a link to the machine,
and one namespace for each node but the first, whose host is the machine itself.

Called by the supervisor of `up`, by `down`, and to cut a node off. Everything is found again by
its name, so that each call may come from another process. Blocks for milliseconds.
"""

import errno
import ipaddress
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.core.network import naming, ruleset
from stackd.errors import Unavailable
from stackd.host import foreignrules, netns, routing, rtnl, uplink
from stackd.host.forwarding import Forwarding
from stackd.host.netlink import ROUTE, NetlinkError, NetlinkSocket
from stackd.host.nftables import Nft, Table
from stackd.host.rtnl import Route, Veth

_BRIDGE, _HOST, _NODE = "br0", "host", "eth0"
_BRIDGE_MAC = "02:00:00:00:00:01"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Switch:
    """See the module. `underlay`: its network in CIDR form; the machine has its first address and
    the node with number n its n-th. `machine`: the machine's address that nodes speak to, `ports`:
    (protocol, port) that they reach there."""

    layout: ClusterLayout
    underlay: str
    shared: Path
    machine: str
    ports: tuple[tuple[str, int], ...] = ()

    def address(self, number: int) -> str:
        """The address of the node with this number; the machine's for 1."""
        return str(ipaddress.IPv4Network(self.underlay)[number])

    def ensure(self) -> None:
        """The switch, its link to the machine and the machine's rules are there. Raises
        Unavailable."""
        nft = Nft(threading.Lock())
        try:
            table = self.rules(nft)
            try:
                table.load(())
                self.check(nft, table)
            finally:
                table.close()
        finally:
            nft.close()

    def rules(self, nft: Nft) -> Table:
        """The table on the machine, not loaded yet."""
        link, name = self.link, naming.switch_table(self.layout.cluster)
        uplinks = naming.host_uplinks(self.layout.cluster)
        text = ruleset.switch(name, self.underlay, link, uplinks)
        return Table(nft, name, lambda _: text)

    def check(self, nft: Nft, table: Table) -> list[str]:
        """Everything is there again; a sentence for each thing that was not, or that others shut.
        Writes only what differs: whoever watches the machine is not disturbed. Raises
        Unavailable."""
        with _translated("The switch between the nodes"):
            inside = _namespace(self.layout.switch, _prepare_switch(self._mtu()))
            try:
                done = self._link(inside)
            finally:
                os.close(inside)
        if not table.verify():
            done.append(f"The nft table {table.name} had been changed and was restored.")
        mark = f"{naming.rule_mark(self.layout.cluster)}switch"
        outcome = foreignrules.ensure(nft, self.openings, mark)
        with Forwarding(self.shared) as forwarding:
            if forwarding.claim(table.name):
                done.append("net.ipv4.ip_forward was 0 on this host and is now 1.")
        return [*done, *outcome.done, *outcome.refused]

    @property
    def link(self) -> str:
        """The machine's link to the switch."""
        return naming.host_switch(self.layout.cluster)

    @property
    def openings(self) -> tuple[foreignrules.Opening, ...]:
        """What others' chains on the machine must let through."""
        incoming = (
            foreignrules.Opening(foreignrules.INPUT, "iifname", self.link, protocol, port)
            for protocol, port in self.ports
        )
        return (*foreignrules.forwarded(self.link), *incoming)

    def connect(self, node: NodeLayout, number: int) -> None:
        """The node's namespace and its link to the switch are there. Raises Unavailable."""
        with _translated(f"The network of {node.name}"):
            host, switch = _namespace(node.netns, _prepare_node), _need(self.layout.switch)
            mtu = self._mtu()
            try:
                self._plug(node.name, host, switch, mtu)
                netns.within(host, self._address, number)
            finally:
                os.close(host)
                os.close(switch)

    def disconnect(self, node: NodeLayout) -> None:
        """The node's namespace goes, with all links in it."""
        netns.unpin(node.netns)

    def cut(self, node: NodeLayout, *, off: bool) -> None:
        """Set the node's link to the switch down, or up again. Raises Unavailable."""
        with _translated(f"The link of {node.name}"):
            switch = _need(self.layout.switch)
            try:
                netns.within(switch, _set_port, node.name, off)
            finally:
                os.close(switch)

    def remove(self) -> None:
        """The switch goes; what is on the machine's side is found by the cluster's id."""
        netns.unpin(self.layout.switch)

    def _mtu(self) -> int:
        """What fits through the machine's own link fits between the nodes, and no more: then
        nothing that they send out has to be cut up."""
        outer = NetlinkSocket(ROUTE)
        try:
            link = rtnl.find(outer, self.link)
            return link.mtu if link else uplink.mtu_of(outer, self.machine)
        finally:
            outer.close()

    def _link(self, inside: int) -> list[str]:
        outer = NetlinkSocket(ROUTE)
        try:
            link = rtnl.find(outer, self.link)
            if link is not None and not netns.within(inside, _has, _HOST):
                outer.request([rtnl.delete_link(link.index)], ignore=(errno.ENODEV,))
                link = None
            if link is None:
                veth = Veth(self.link, _HOST, inside, self._mtu())
                outer.request([rtnl.add_veth(veth)])
            index = rtnl.need(outer, self.link)
            prefix = ipaddress.IPv4Network(self.underlay).prefixlen
            outer.request([rtnl.set_up(index)])
            routing.set_address(outer, index, self.address(1), prefix)
        finally:
            outer.close()
        netns.within(inside, _enslave, _HOST)
        if link is None:
            return [f"The link {self.link} to the switch was made."]
        return [] if link.up else [f"The link {self.link} had been set down and was set up again."]

    def _plug(self, name: str, host: int, switch: int, mtu: int) -> None:
        def make() -> None:
            netlink = NetlinkSocket(ROUTE)
            try:
                if rtnl.find(netlink, _NODE) is None:
                    netlink.request([rtnl.add_veth(Veth(_NODE, name, switch, mtu))])
            finally:
                netlink.close()

        netns.within(host, make)
        netns.within(switch, _enslave, name)

    def _address(self, number: int) -> None:
        netlink = NetlinkSocket(ROUTE)
        try:
            index = rtnl.need(netlink, _NODE)
            prefix = ipaddress.IPv4Network(self.underlay).prefixlen
            netlink.request([rtnl.set_up(index)])
            routing.set_address(netlink, index, self.address(number), prefix)
            netlink.request([rtnl.add_route(Route(routing.DEFAULT, index, self.address(1)))])
        finally:
            netlink.close()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"{what} cannot be set up: {error.strerror or error}.", "Look at `ip link`."
        ) from error


def _namespace(path: Path, prepare: Callable[[], None]) -> int:
    """The namespace of that name, made when there is none."""
    found = netns.open_pinned(path)
    if found is None:
        found, _ = netns.create(prepare)
        netns.pin(found, path)
    return found


def _need(path: Path) -> int:
    found = netns.open_pinned(path)
    if found is None:
        raise Unavailable(f"{path} is not a network namespace.", "Start the cluster: stackd up")
    return found


def _prepare_node() -> None:
    netlink = NetlinkSocket(ROUTE)
    try:
        netlink.request([rtnl.set_up(1)])
    finally:
        netlink.close()
    for scope in ("all", "default"):
        netns.write_sysctl(f"ipv6/conf/{scope}/disable_ipv6", "1")
    for family in ("ip", "ip6", "arp"):
        netns.write_sysctl(f"bridge/bridge-nf-call-{family}tables", "0")


def _prepare_switch(mtu: int) -> Callable[[], None]:
    def prepare() -> None:
        _prepare_node()
        netlink = NetlinkSocket(ROUTE)
        try:
            netlink.request([rtnl.add_bridge(_BRIDGE, _BRIDGE_MAC, mtu)])
        finally:
            netlink.close()

    return prepare


def _has(link: str) -> bool:
    netlink = NetlinkSocket(ROUTE)
    try:
        return rtnl.find(netlink, link) is not None
    finally:
        netlink.close()


def _enslave(port: str) -> None:
    netlink = NetlinkSocket(ROUTE)
    try:
        link, bridge = rtnl.find(netlink, port), rtnl.need(netlink, _BRIDGE)
        if link is None:
            raise NetlinkError(errno.ENODEV, 0)
        if link.master != bridge:
            netlink.request([rtnl.set_up(link.index, master=bridge)])
    finally:
        netlink.close()


def _set_port(name: str, off: bool) -> None:
    netlink = NetlinkSocket(ROUTE)
    try:
        index = rtnl.need(netlink, name)
        netlink.request([rtnl.set_down(index) if off else rtnl.set_up(index)])
    finally:
        netlink.close()
