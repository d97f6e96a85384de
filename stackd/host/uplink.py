"""The host's side of a node's network: uplink, routes, masquerade, protection of the host.

Works in whichever namespace the node calls its host; everything it does is idempotent, is
reported, and is undone by `remove`. Used by `host.datapath`, in the host namespace's thread.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stackd.core.model.assignment import NodeItem
from stackd.core.network import addressing, elements, naming, ruleset
from stackd.core.network.links import Wanted
from stackd.errors import Refused, Unavailable
from stackd.host import forwardrules, netns, rtnl, survey
from stackd.host.netlink import ROUTE, Message, NetlinkError, NetlinkSocket, attributes
from stackd.host.nftables import Nft, Table
from stackd.host.rtnl import Route

_SETS = ("nodes", "vnis", "published")


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
        self.address = ""
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
            if self._link():
                done.append(f"The uplink {self._name} was made.")
            done += self._add_routes()
        except (NetlinkError, Refused) as error:
            raise Unavailable(f"The uplink cannot be set up: {error}.") from error
        if not self._table.verify():
            done.append(f"The nft table {self._table.name} had been changed and was restored.")
        return done + forwardrules.ensure(self._nft, self._name, self._comment)

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
            leaving = [rtnl.delete_route(Route(r, index, self._inside)) for r in sorted(gone)]
            self._outer.request(leaving, ignore=(errno.ESRCH,))
            self._add_routes()
        except NetlinkError as error:
            raise Unavailable(f"A route cannot be set: {error.strerror}.") from error

    def remove(self) -> None:
        """Undo all of it. Idempotent."""
        forwardrules.remove(self._nft, self._comment)
        self._nft.run(ruleset.remove(self._table.name))
        link = rtnl.find(self._outer, self._name)
        if link is not None:
            self._outer.request([rtnl.delete_link(link.index)], ignore=(errno.ENODEV,))
        prefix = naming.host_vxlan(self._config.cluster, "")
        for name, stray in rtnl.links(self._outer).items():
            if name.startswith(prefix):
                self._outer.request([rtnl.delete_link(stray.index)], ignore=(errno.ENODEV,))
        with _Forwarding(self._config.shared) as forwarding:
            forwarding.release(self._table.name)

    @property
    def _inside(self) -> str:
        """The data plane's address of the pair."""
        return str(addressing.uplink_peer(self.address))

    def _ip_forward(self) -> list[str]:
        with _Forwarding(self._config.shared) as forwarding:
            changed = forwarding.claim(self._table.name)
        return ["net.ipv4.ip_forward was 0 on this host and is now 1."] if changed else []

    def _link(self) -> bool:
        outer, inner = rtnl.find(self._outer, self._name), rtnl.find(self._inner, naming.UPLINK)
        made = outer is None or inner is None
        have = [a for a in survey.address_entries(self._outer) if outer and a[0] == outer.index]
        if made:
            if outer is not None:
                self._outer.request([rtnl.delete_link(outer.index)], ignore=(errno.ENODEV,))
            veth = rtnl.Veth(self._name, naming.UPLINK, self._fd, 1500)
            self._outer.request([rtnl.add_veth(veth)])
        if not self.address:
            self.address = have[0][1] if have else self._choose()
        index, peer = rtnl.need(self._outer, self._name), rtnl.need(self._inner, naming.UPLINK)
        self._outer.request([rtnl.set_up(index), rtnl.add_address(index, self.address, 30)])
        self._inner.request(
            [
                rtnl.set_up(peer),
                rtnl.add_address(peer, self._inside, 30),
                rtnl.add_route(Route("0.0.0.0/0", peer, self.address)),
            ]
        )
        return made

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
        lost = foreign.intersection(missing)
        said, self._lost = self._lost, lost
        missing = [route for route in missing if route not in lost]
        self._outer.request([rtnl.add_route(Route(r, index, self._inside)) for r in missing])
        done = [f"The route to {route} was set." for route in missing]
        return done + [f"{route} has a route of something else." for route in sorted(lost - said)]


def _routes(netlink: NetlinkSocket) -> list[tuple[str, int]]:
    """(destination, link index) of the main table's IPv4 routes, default routes left out."""
    found = []
    for answer in netlink.dump(Message(rtnl.GETROUTE, 0, struct.pack("=BBBBBBBBI", 2, *[0] * 8))):
        prefix, table = answer.body[1], answer.body[4]
        fields = attributes(answer.body[12:])
        if table == 254 and 1 in fields and prefix:
            index = struct.unpack("=I", fields.get(4, b"\0" * 4))[0]
            found.append((f"{socket.inet_ntoa(fields[1])}/{prefix}", index))
    return found


class _Forwarding:
    """ip_forward of the calling thread's namespace, shared by all clusters that need it: who
    claimed it and what it was before, in one locked file per namespace."""

    def __init__(self, shared: Path) -> None:
        inode = os.stat("/proc/thread-self/ns/net").st_ino
        self._shared = shared
        self._path = shared / f"ip_forward.{inode}"
        self._lock = shared / "ip_forward.lock"

    def __enter__(self) -> "_Forwarding":
        while True:
            self._shared.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # removed by the last to leave
                self._file = self._lock.open("w")
                fcntl.flock(self._file, fcntl.LOCK_EX)
                if self._current():
                    return self
                self._file.close()

    def _current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._lock))
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        if os.listdir(self._shared) == [self._lock.name]:
            self._lock.unlink()
            with contextlib.suppress(OSError):  # somebody has just come
                self._shared.rmdir()
        self._file.close()

    def claim(self, owner: str) -> bool:
        """Set it to 1 and remember what it was; True if that changed it."""
        now = netns.read_sysctl("ipv4/ip_forward")
        lines = self._path.read_text().split() if self._path.exists() else [f"={now}"]
        if owner not in lines:
            self._path.write_text("\n".join((*lines, owner)))
        if now == "1":
            return False
        netns.write_sysctl("ipv4/ip_forward", "1")
        return True

    def release(self, owner: str) -> None:
        """Give up a claim; the last one puts back what was before."""
        if not self._path.exists():
            return
        lines = [line for line in self._path.read_text().split() if line != owner]
        if len(lines) > 1:
            self._path.write_text("\n".join(lines))
            return
        netns.write_sysctl("ipv4/ip_forward", lines[0].removeprefix("="))
        self._path.unlink()
