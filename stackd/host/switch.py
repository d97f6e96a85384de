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
from stackd.host import forwardrules, netns, rtnl
from stackd.host.forwarding import Forwarding
from stackd.host.netlink import ROUTE, NetlinkError, NetlinkSocket
from stackd.host.nftables import Nft
from stackd.host.rtnl import Route, Veth

_BRIDGE, _HOST, _NODE = "br0", "host", "eth0"
_BRIDGE_MAC = "02:00:00:00:00:01"
_MTU = 1500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Switch:
    """See the module. `underlay`: its network in CIDR form; the machine has its first address and
    the node with number n its n-th."""

    layout: ClusterLayout
    underlay: str
    shared: Path

    def address(self, number: int) -> str:
        """The address of the node with this number; the machine's for 1."""
        return str(ipaddress.IPv4Network(self.underlay)[number])

    def ensure(self) -> None:
        """The switch and its link to the machine are there. Raises Unavailable."""
        with _translated("The switch between the nodes"):
            inside = _namespace(self.layout.switch, _prepare_switch)
            try:
                self._link(inside)
            finally:
                os.close(inside)
            self._forward()

    def connect(self, node: NodeLayout, number: int) -> None:
        """The node's namespace and its link to the switch are there. Raises Unavailable."""
        with _translated(f"The network of {node.name}"):
            host, switch = _namespace(node.netns, _prepare_node), _need(self.layout.switch)
            try:
                self._plug(node.name, host, switch)
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

    def _link(self, inside: int) -> None:
        name = naming.host_switch(self.layout.cluster)
        outer = NetlinkSocket(ROUTE)
        try:
            if rtnl.find(outer, name) is None:
                outer.request([rtnl.add_veth(Veth(name, _HOST, inside, _MTU))])
            index = rtnl.need(outer, name)
            prefix = ipaddress.IPv4Network(self.underlay).prefixlen
            outer.request([rtnl.set_up(index), rtnl.add_address(index, self.address(1), prefix)])
        finally:
            outer.close()
        netns.within(inside, _enslave, _HOST)

    def _forward(self) -> None:
        cluster, name = self.layout.cluster, naming.host_switch(self.layout.cluster)
        table = naming.switch_table(cluster)
        nft = Nft(threading.Lock())
        try:
            nft.run(ruleset.switch(table, self.underlay, name))
            forwardrules.ensure(nft, name, f"{naming.rule_mark(cluster)}switch")
        finally:
            nft.close()
        with Forwarding(self.shared) as forwarding:
            forwarding.claim(table)

    def _plug(self, name: str, host: int, switch: int) -> None:
        def make() -> None:
            netlink = NetlinkSocket(ROUTE)
            try:
                if rtnl.find(netlink, _NODE) is None:
                    netlink.request([rtnl.add_veth(Veth(_NODE, name, switch, _MTU))])
            finally:
                netlink.close()

        netns.within(host, make)
        netns.within(switch, _enslave, name)

    def _address(self, number: int) -> None:
        netlink = NetlinkSocket(ROUTE)
        try:
            index = rtnl.need(netlink, _NODE)
            prefix = ipaddress.IPv4Network(self.underlay).prefixlen
            netlink.request(
                [
                    rtnl.set_up(index),
                    rtnl.add_address(index, self.address(number), prefix),
                    rtnl.add_route(Route("0.0.0.0/0", index, self.address(1))),
                ]
            )
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


def _prepare_switch() -> None:
    _prepare_node()
    netlink = NetlinkSocket(ROUTE)
    try:
        netlink.request([rtnl.add_bridge(_BRIDGE, _BRIDGE_MAC, _MTU)])
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
