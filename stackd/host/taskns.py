"""Namespaces of tasks: kept ready in a pool, pinned by task id, given their interfaces.

Used by `host.fabric`, in the data plane's thread; the pool is filled by a thread of its own.
"""

import errno
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stackd.core.network import addressing
from stackd.core.network.links import Overlay
from stackd.host import netns, rtnl
from stackd.host.netlink import ROUTE, NetlinkError, NetlinkSocket
from stackd.host.rtnl import Route

_PREFIX = "t-"


class Interface(msgspec.Struct, frozen=True):
    """A task's address in one network; `position` n is eth<n>."""

    position: int
    network: str
    address: str


class Record(msgspec.Struct, frozen=True):
    """What is kept beside a pinned namespace, for an agent that starts later."""

    interfaces: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class TaskNamespace:
    """A namespace with a netlink socket inside it."""

    fd: int
    netlink: NetlinkSocket

    def close(self) -> None:
        """Let go of it; unless pinned it is gone, links and all."""
        self.netlink.close()
        os.close(self.fd)


def _prepare() -> NetlinkSocket:
    netlink = NetlinkSocket(ROUTE)
    netlink.request([rtnl.set_up(1)])
    netns.write_sysctl("ipv4/ip_unprivileged_port_start", "0")
    netns.write_sysctl("ipv4/ping_group_range", "0 2147483647")
    netns.write_sysctl("ipv6/conf/default/disable_ipv6", "1")
    return netlink


def make() -> TaskNamespace:
    """A new one with `lo` up, IPv6 off on later links, low ports and ping open to all users."""
    return TaskNamespace(*netns.create(_prepare))


class Pool:
    """Namespaces made ahead of time. `fill` may run in another thread than `take`."""

    def __init__(self, size: int) -> None:
        self._ready: deque[TaskNamespace] = deque()
        self._size = size
        self._closed = False

    def take(self) -> TaskNamespace:
        """One from the pool, or a new one when it is empty. Raises OSError."""
        try:
            return self._ready.popleft()
        except IndexError:
            return make()

    def fill(self) -> None:
        """Make as many as are missing."""
        while not self._closed and len(self._ready) < self._size:
            self._ready.append(make())

    def close(self) -> None:
        """Give all back to the kernel; call it when no `fill` runs any more."""
        self._closed = True
        while self._ready:
            self._ready.popleft().close()


class Shelf:
    """The folder with the pinned namespaces of this node's tasks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, task: str) -> Path:
        """The file that names a task's namespace."""
        return self._folder / f"{_PREFIX}{task}"

    def put(self, task: str, namespace: TaskNamespace, record: Record) -> None:
        """Pin it and write down what is in it. Raises OSError."""
        self._record(task).write_bytes(msgspec.json.encode(record))
        netns.pin(namespace.fd, self.path(task))

    def remove(self, task: str) -> None:
        """Unpin and forget. Idempotent."""
        netns.unpin(self.path(task))
        self._record(task).unlink(missing_ok=True)

    def _record(self, task: str) -> Path:
        return self._folder / f"r-{task}"

    def found(self) -> dict[str, tuple[TaskNamespace, Record]]:
        """What an earlier agent left, by task; half-made things are removed."""
        found = {}
        for path in sorted(self._folder.glob("[tr]-*")):
            task = path.name[2:]
            if task in found:
                continue
            fd = netns.open_pinned(self.path(task))
            try:
                record = msgspec.json.decode(self._record(task).read_bytes(), type=Record)
            except (FileNotFoundError, msgspec.DecodeError):
                record = None
            if fd is None or record is None:
                if fd is not None:
                    os.close(fd)
                self.remove(task)
                continue
            found[task] = (TaskNamespace(fd, netns.within(fd, NetlinkSocket, ROUTE)), record)
        return found


def set_inside(namespace: TaskNamespace, interfaces: Sequence[tuple[Interface, Overlay]]) -> None:
    """Addresses, routes and the gateway's neighbour entry inside the namespace. The default route
    leads through the first network that is not internal. Raises NetlinkError."""
    default = next((i for i, (_, overlay) in enumerate(interfaces) if not overlay.internal), -1)
    requests = []
    for position, (interface, overlay) in enumerate(interfaces):
        index = rtnl.need(namespace.netlink, f"eth{interface.position}")
        gateway = overlay.gateway
        requests += [
            rtnl.set_up(index),
            rtnl.add_address(index, interface.address, 32),
            rtnl.add_route(Route(f"{gateway}/32", index)),
            rtnl.add_neighbour(index, gateway, overlay.mac),
            rtnl.add_route(Route(overlay.subnet, index, gateway)),
        ]
        if position == default:
            requests.append(rtnl.add_route(Route("0.0.0.0/0", index, gateway)))
    namespace.netlink.request(requests)


def veth(
    name: str, namespace: TaskNamespace, end: tuple[Interface, Overlay], bridge: int
) -> rtnl.Veth:
    """The link of one interface, its near end on the bridge with this index."""
    interface, overlay = end
    return rtnl.Veth(
        name=name,
        peer=f"eth{interface.position}",
        peer_ns=namespace.fd,
        mtu=overlay.mtu,
        peer_mac=addressing.task_mac(interface.address),
        master=bridge,
    )


def add_link(data_plane: NetlinkSocket, link: rtnl.Veth) -> None:
    """Make it. A dying link of that name makes way, unless it has just gone by itself. Raises
    NetlinkError."""
    try:
        data_plane.request([rtnl.add_veth(link)])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        if (old := rtnl.find(data_plane, link.name)) is not None:
            data_plane.request([rtnl.delete_link(old.index)], ignore=(errno.ENODEV,))
        data_plane.request([rtnl.add_veth(link)])
