"""One data-plane namespace as a whole: its links, its nft table, its tracked connections.

Synchronous, and only ever called in the thread that lives in the namespace, by `host.datapath`.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path

from stackd.aio import shortage
from stackd.core.model.driver import NetworkSetup
from stackd.core.model.traffic import TrafficEntry
from stackd.core.network import elements, links, naming, ruleset, slots
from stackd.core.network.elements import Change
from stackd.core.network.links import Wanted
from stackd.core.network.slots import VipTable
from stackd.core.traffic import effective
from stackd.errors import Rejected, StackdError, Unavailable
from stackd.host import netns, rtnl
from stackd.host.conntrack import Conntrack
from stackd.host.fabric import Attached, Fabric, Underlay
from stackd.host.netlink import ROUTE, NetlinkError, NetlinkSocket
from stackd.host.nftables import Nft, Table
from stackd.host.taskns import Pool, Record, Shelf

_SETS = (
    *("bridges", "same", "internal", "gw", "nodes", "peermac"),
    *("src4", "self", "vips", "slots", "svc"),
)
_TCP = 6
_SETTINGS = {
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    "bridge/bridge-nf-call-arptables": "0",
    "ipv4/ip_forward": "1",
}
"""Of a data plane; those that this kernel does not have are left out."""
_OF_LINKS = {"forwarding": "1", "rp_filter": "0"}


def prepare() -> None:
    """Settings of a data-plane namespace, for the calling thread's. Idempotent."""
    netlink = NetlinkSocket(ROUTE)
    try:
        netlink.request([rtnl.set_up(1)])
    finally:
        netlink.close()
    for name, value in _SETTINGS.items():
        netns.write_sysctl(name, value)


class Plane:
    """See the module. `shelf` holds the tasks' namespaces and outlives the process."""

    def __init__(self, fabric: Fabric, table: Table, shelf: Shelf) -> None:
        self.fabric = fabric
        self._table = table
        self._shelf = shelf
        self._conntrack = Conntrack()
        self._entries: dict[str, TrafficEntry] = {}
        self._vips: dict[str, tuple[str, ...]] = {}
        self._swept = False
        self._left: set[str] = set()
        self._left_vips: set[tuple[str, str]] = set()

    @classmethod
    def start(cls, namespace: int, underlay: Underlay, nft: Nft, folder: Path) -> "Plane":
        """Settings, table and the tasks an earlier agent left. Raises Unavailable."""
        prepare()
        name = naming.data_table(underlay.cluster)
        table = Table(nft, name, lambda m: ruleset.data_plane(name, underlay.port, m))
        table.load(_SETS)
        shelf = Shelf(folder)
        plane = cls(Fabric(namespace, underlay), table, shelf)
        for task, (namespace_of, record) in shelf.found().items():
            plane.fabric.tasks[task] = Attached(namespace_of, record.interfaces)
        return plane

    def close(self) -> None:
        """Close sockets and descriptors; everything stays."""
        self._conntrack.close()
        self._table.close()
        self.fabric.close()

    def configure(self, wanted: Wanted) -> None:
        """Networks, peers and neighbours. Raises Unavailable."""
        before = {address for _, address in self.fabric.wanted.neighbours}
        self._table.replace(elements.network_sets(wanted))
        try:
            self.fabric.apply(wanted)
            if not self._swept:
                before |= self.fabric.sweep()
                self._swept = True
        except StackdError:
            self._swept = False
            raise
        finally:
            now = {address for _, address in self.fabric.wanted.neighbours}
            self._left |= before - now - self._local()

    def _local(self) -> set[str]:
        return {i.address for a in self.fabric.tasks.values() for i in a.interfaces}

    def attach(self, task: str, addresses: Mapping[str, str], pool: Pool) -> NetworkSetup:
        """A namespace with these addresses; the one there is kept if it fits. Raises Rejected,
        Unavailable when the machine lacks something for now."""
        interfaces = self.fabric.interfaces(addresses)
        if self._left.intersection(addresses.values()):
            self.forget()
        known = self.fabric.tasks.get(task)
        if known is not None and known.interfaces != interfaces:
            self.detach(task)
            known = None
        try:
            if known is None:
                namespace = pool.take()
                self.fabric.tasks[task] = Attached(namespace, interfaces)
                self._shelf.put(task, namespace, Record(interfaces))
            self._table.change(self._sources(task, present=True))
            self.fabric.plug(task, fresh=known is None)
        except (OSError, Unavailable) as error:
            self.detach(task)
            reaction = Unavailable if shortage.passing(error) else Rejected
            raise reaction(f"The task's network cannot be set up: {error}.") from error
        overlays = self.fabric.wanted.overlays
        resolver = overlays[interfaces[0].network].gateway if interfaces else ""
        return NetworkSetup(str(self._shelf.path(task)), dict(addresses), resolver)

    def _sources(self, task: str, *, present: bool) -> list[Change]:
        """Element changes that let a task speak from its addresses, or no longer."""
        data = b"" if present else None
        changes: list[Change] = []
        attached = self.fabric.tasks.get(task)
        for interface in attached.interfaces if attached else ():
            bridge = links.bridge_name(interface.network)
            source, own = elements.task_source(bridge, interface.address)
            changes += [("src4", source, data), ("self", own, data)]
        return changes

    def detach(self, task: str) -> None:
        """Namespace, links and entries of a task go; `forget` does the rest. Idempotent."""
        self._table.change(self._sources(task, present=False))
        attached = self.fabric.unplug(task)
        if attached is not None:
            attached.namespace.close()
        self._shelf.remove(task)
        if attached is not None:
            self._left |= {i.address for i in attached.interfaces}

    def forget(self) -> None:
        """Delete what is tracked of addresses and backends that have left since the last call.
        Going through the table takes long, so that several departures share it. Raises
        Unavailable."""
        left, self._left = self._left, set()
        left_vips, self._left_vips = self._left_vips, set()
        try:
            self._conntrack.forget(left, left_vips)
        except NetlinkError as error:
            self._left |= left
            self._left_vips |= left_vips
            raise Unavailable(f"Tracked connections cannot be deleted: {error}.") from error

    def reap(self, keep: Set[str]) -> list[str]:
        """Detach every task that is not in `keep`; which."""
        unknown = sorted(self.fabric.tasks.keys() - keep)
        for task in unknown:
            self.detach(task)
        return unknown

    def route(self, entries: Sequence[TrafficEntry]) -> frozenset[tuple[int, int]]:
        """Make the virtual addresses show exactly these entries; the (protocol, port) they
        publish. Only what changed is worked out. Raises Unavailable."""
        new = {entry.key: entry for entry in entries}
        old = self._entries
        changed = [e for key, e in new.items() if (o := old.get(key)) is not e and o != e]
        vips = dict(self._vips) if changed or len(new) != len(old) else self._vips
        touched: set[str] = set()
        for key, entry in old.items():
            replaced = new.get(key)
            if replaced is None or (replaced is not entry and replaced != entry):
                touched |= set(entry.vips.values())
        for vip in touched:
            vips.pop(vip, None)
        fresh = slots.vip_table(changed).slots
        vips.update(fresh)
        self._apply_vips(vips, touched | set(fresh))
        self._entries, self._vips = new, vips
        listening = (entry for entry in entries if entry.listening)
        return frozenset(
            (_TCP, port.published) for entry in listening for port in effective.ports(entry)
        )

    def _apply_vips(self, vips: Mapping[str, tuple[str, ...]], touched: Iterable[str]) -> None:
        if not self._entries:
            # first time: the kernel may still show what an earlier agent put there
            table = VipTable(vips)
            self._add_chains(table)
            self._table.replace(elements.vip_maps(table))
            return
        self._add_chains(VipTable({vip: vips[vip] for vip in touched if vip in vips}))
        changes: list[Change] = []
        for vip in sorted(touched):
            old, new = self._vips.get(vip), vips.get(vip)
            changes += elements.vip_changes(vip, old, new)
            self._left_vips |= {(vip, backend) for backend in set(old or ()) - set(new or ())}
        self._table.change(changes)

    def _add_chains(self, table: VipTable) -> None:
        name = self._table.name
        self._table.add_chains(table.moduli, lambda m: ruleset.modulus_chains(name, m))

    def count(self, addresses: Collection[str]) -> dict[str, int]:
        """Live connections through virtual addresses, by backend address."""
        return self._conntrack.count(addresses)

    def verify(self) -> list[str]:
        """Compare with the kernel and repair; one sentence each. Raises Unavailable."""
        done = []
        if not self._table.verify():
            done.append(f"The nft table {self._table.name} had been changed and was restored.")
        done += self.fabric.verify()
        return done + self._settings()

    def _settings(self) -> list[str]:
        """Put back settings that somebody has changed; one sentence each."""
        wanted = dict(_SETTINGS)
        for link in (naming.UPLINK, *(o.bridge for o in self.fabric.wanted.overlays.values())):
            wanted |= {f"ipv4/conf/{link}/{name}": value for name, value in _OF_LINKS.items()}
        done = []
        for name, value in wanted.items():
            found = netns.read_sysctl(name)
            if found not in (None, value):
                netns.write_sysctl(name, value)
                done.append(f"{name.replace('/', '.')} of the data plane was {found}: set again.")
        return done

    def purge(self) -> list[str]:
        """Detach all tasks and delete all overlay links; what could not be, in sentences."""
        failed = []
        for task in sorted(self.fabric.tasks):
            try:
                self.detach(task)
            except (StackdError, NetlinkError) as error:
                failed.append(f"The network of task {task} was not removed: {error}.")
                self._shelf.remove(task)
        try:
            self.fabric.apply(Wanted())
        except StackdError as error:
            failed.append(str(error))
        return failed


def thread_id() -> int:
    """The calling thread's id as the kernel names it in notifications."""
    return int(os.readlink("/proc/thread-self").rpartition("/")[2])
