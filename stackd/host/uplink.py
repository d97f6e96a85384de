"""The host's side of a node's network: uplink, routes, masquerade, protection of the host.

Works in whichever namespace the node calls its host; everything it does is idempotent, is
reported, and is undone by `remove`. Used by `host.datapath`, in the host namespace's thread.
"""

import errno
import ipaddress
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from stackd.core.model.assignment import NodeItem
from stackd.core.network import addressing, elements, naming, ruleset
from stackd.core.network.links import Wanted
from stackd.errors import Refused, Unavailable
from stackd.host import foreignrules, leftovers, routing, rtnl, survey
from stackd.host.forwarding import Forwarding
from stackd.host.netlink import ROUTE, NetlinkError, NetlinkSocket
from stackd.host.nftables import Nft, Table
from stackd.host.rtnl import Link, Route

_SETS = ("nodes", "vnis", "published")
_MTU = 1500


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a node's network is made with.

    `folder`: namespaces and records of this node, on a tmpfs, made if missing. `shared`: records
    of what clusters on this machine share. `host_netns`: the namespace the node calls its host;
    None = the one this process is in. `pool`: CIDR of the cluster's networks.
    """

    cluster: str
    node: NodeItem
    folder: Path
    shared: Path
    pool: str
    host_netns: Path | None = None
    vxlan_port: int = 4789
    namespaces_ready: int = 8


class Uplink:
    """See the module. Made in the host namespace's thread; `data_plane` is the other namespace
    and `inner` a netlink socket in it."""

    def __init__(
        self, config: NetworkConfig, data_plane: int, inner: NetlinkSocket, nft: Nft
    ) -> None:
        self._config = config
        self._fd = data_plane
        self._inner = inner
        self._outer = NetlinkSocket(ROUTE)
        self._nft = nft
        self._name = naming.host_uplink(config.cluster, config.node.index)
        self._comment = naming.rule_comment(config.cluster, config.node.index)
        self._routes: set[str] = {config.pool}
        self._lost: set[str] = set()
        self._openings = openings(self._name)
        self.refused: tuple[str, ...] = ()
        """Sentences: others' chains that keep dropping this node's traffic."""
        self.address = ""
        self.mtu = mtu_of(self._outer, config.node.address)
        """Of the way to other nodes, and out."""
        table = naming.host_table(config.cluster, config.node.index)
        self._table = Table(
            nft, table, lambda _: ruleset.host(table, config.vxlan_port, self._name)
        )

    def close(self) -> None:
        """Close sockets; everything stays."""
        self._table.close()
        self._outer.close()

    def start(self) -> list[str]:
        """Everything there, the table loaded anew; what was done to the host, in sentences.
        Raises Unavailable."""
        self._table.load(_SETS)
        return self.ensure()

    def ensure(self) -> list[str]:
        """Everything there; one sentence for each thing made. Raises Unavailable."""
        done = self._ip_forward()
        try:
            done += self._link()
            done += self._add_routes()
        except (NetlinkError, Refused) as error:
            raise Unavailable(f"The uplink cannot be set up: {error}.") from error
        if not self._table.verify():
            done.append(f"The nft table {self._table.name} had been changed and was restored.")
        outcome = foreignrules.ensure(self._nft, self._openings, self._comment)
        self.refused = outcome.refused
        return done + list(outcome.done)

    def apply(self, wanted: Wanted, published: Iterable[tuple[int, int]]) -> None:
        """Nodes, VNIs, (protocol number, port) published, and routes to networks outside the
        pool. Raises Unavailable."""
        self._table.replace(elements.host_sets(wanted, published))
        subnets = {o.subnet for o in wanted.overlays.values()}
        routes = {s for s in subnets if not addressing.within(s, self._config.pool)}
        routes.add(self._config.pool)
        gone, self._routes = self._routes - routes, routes
        try:
            index = rtnl.need(self._outer, self._name)
            leaving = [rtnl.delete_route(Route(r, index, self.inside)) for r in sorted(gone)]
            self._outer.request(leaving, ignore=(errno.ESRCH,))
            self._add_routes()
        except NetlinkError as error:
            raise Unavailable(f"A route cannot be set: {error.strerror}.") from error

    def remove(self) -> None:
        """Undo all of it. Idempotent."""
        leftovers.remove(self._nft, self._outer, self._config.cluster, self._config.shared)

    @property
    def inside(self) -> str:
        """The data plane's address of the pair."""
        return str(addressing.uplink_peer(self.address))

    def _ip_forward(self) -> list[str]:
        with Forwarding(self._config.shared) as forwarding:
            changed = forwarding.claim(self._table.name)
        return ["net.ipv4.ip_forward was 0 on this host and is now 1."] if changed else []

    def _link(self) -> list[str]:
        outer, inner = rtnl.find(self._outer, self._name), rtnl.find(self._inner, naming.UPLINK)
        done = []
        if outer is None or inner is None:
            done.append(f"The uplink {self._name} was made.")
        elif self.address and (fault := self._fault(outer, inner)):
            done.append(fault)
        have = [a for a in survey.address_entries(self._outer) if outer and a[0] == outer.index]
        if outer is None or inner is None:
            if outer is not None:
                self._outer.request([rtnl.delete_link(outer.index)], ignore=(errno.ENODEV,))
            veth = rtnl.Veth(self._name, naming.UPLINK, self._fd, self.mtu)
            self._outer.request([rtnl.add_veth(veth)])
        if not self.address:
            self.address = have[0][1] if have else self._choose()
        index, peer = rtnl.need(self._outer, self._name), rtnl.need(self._inner, naming.UPLINK)
        self._outer.request([rtnl.set_up(index, mtu=self.mtu)])
        routing.set_address(self._outer, index, self.address, addressing.UPLINK_PREFIX)
        self._inner.request([rtnl.set_up(peer, mtu=self.mtu)])
        routing.set_address(self._inner, peer, self.inside, addressing.UPLINK_PREFIX)
        self._inner.request([rtnl.add_route(Route(routing.DEFAULT, peer, self.address))])
        return done

    def _fault(self, outer: Link, inner: Link) -> str:
        """What is wrong with the pair, in a sentence; '' when nothing is."""
        if not (outer.up and inner.up):
            return f"The uplink {self._name} had been set down and was set up again."
        within = routing.routes(self._inner)
        ends = (
            (routing.routes(self._outer), outer.index, self.address),
            (within, inner.index, self.inside),
        )
        if not all(routing.whole(*end, addressing.UPLINK_PREFIX) for end in ends):
            return f"An address or route of the uplink {self._name} had gone and was set again."
        if not any(route.destination == routing.DEFAULT for route in within):
            return "The data plane's default route had been removed and was set again."
        return ""

    @property
    def port_ids(self) -> tuple[int, int]:
        """The netlink ports of the host and of the data plane whose changes are our own."""
        outer, inner = self._outer.socket.getsockname(), self._inner.socket.getsockname()
        return int(outer[0]), int(inner[0])

    @property
    def name(self) -> str:
        """The host's end of the uplink."""
        return self._name

    def routes(self) -> Collection[str]:
        """The destinations that the host reaches through it."""
        return self._routes

    def _choose(self) -> str:
        taken = [f"{a}/{prefix}" for _, a, prefix in survey.address_entries(self._outer)]
        taken += [route for route, _ in _routes(self._outer)]
        seed = zlib.crc32(f"{self._config.cluster}/{self._config.node.index}".encode())
        return addressing.uplink_pair(seed, taken)[0]

    def _add_routes(self) -> list[str]:
        index = rtnl.need(self._outer, self._name)
        routes = _routes(self._outer)
        there = {destination for destination, device in routes if device == index}
        missing = sorted(self._routes - there)
        foreign = {destination for destination, device in routes if device != index}
        if self._config.pool in foreign:
            raise Unavailable(
                f"The address pool {self._config.pool} has a route of something else.",
                "Stop what uses it (another cluster, a VPN) first.",
            )
        lost = {
            route for route in missing if route != self._config.pool and _overlapped(route, foreign)
        }
        said, self._lost = self._lost, lost
        missing = [route for route in missing if route not in lost]
        self._outer.request([rtnl.add_route(Route(r, index, self.inside)) for r in missing])
        done = [f"The route to {route} was set." for route in missing]
        return done + [f"{route} has a route of something else." for route in sorted(lost - said)]


def openings(uplink: str) -> tuple[foreignrules.Opening, ...]:
    """What others' chains must let through for a node with this uplink: what its tasks send out
    and are answered, and what they send to the host, of which our own table lets in the ports."""
    return (
        *foreignrules.forwarded(uplink),
        foreignrules.Opening(foreignrules.INPUT, "iifname", uplink),
    )


def mtu_of(netlink: NetlinkSocket, address: str) -> int:
    """The MTU of the link with this address: what leaves for other machines must fit into it.
    1500 for a link that has no end (loopback) or is not there yet."""
    indexes = {index for index, found, _ in survey.address_entries(netlink) if found == address}
    links = rtnl.links(netlink).values()
    found = [link.mtu for link in links if link.index in indexes and link.name != "lo"]
    return min(found, default=_MTU)


def _overlapped(route: str, others: Iterable[str]) -> bool:
    """Whether a route would take addresses from others, which stay theirs."""
    net = ipaddress.IPv4Network(route)
    return any(net.overlaps(ipaddress.IPv4Network(other)) for other in others)


def _routes(netlink: NetlinkSocket) -> list[tuple[str, int]]:
    """(destination, link index) of the main table's IPv4 routes, default routes left out."""
    return [
        (route.destination, route.link)
        for route in routing.routes(netlink)
        if route.table == routing.MAIN and route.destination != routing.DEFAULT
    ]
