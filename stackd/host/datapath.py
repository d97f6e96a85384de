"""The networks of one node on the real kernel: what the agent calls `NodeNetwork`.

All overlay networks live in one data-plane namespace with one uplink to the host, out of reach of
foreign firewall policies. Blocking work is done by three threads: one in the data plane, one in
the host's namespace, one that keeps namespaces for tasks ready. Made by `agent.main`.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Protocol

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.driver import NetworkSetup, NetworkView
from stackd.core.model.network import Network
from stackd.core.model.traffic import TrafficEntry
from stackd.core.network import links
from stackd.core.network.links import Wanted
from stackd.errors import Unavailable
from stackd.host import netns, netwatch, probes
from stackd.host.fabric import Underlay
from stackd.host.netlink import ROUTE, NetlinkSocket
from stackd.host.netns import NamespaceThread
from stackd.host.netwatch import Watch
from stackd.host.nftables import Nft
from stackd.host.plane import Plane, prepare, thread_id
from stackd.host.taskns import Pool
from stackd.host.uplink import NetworkConfig, Uplink

_LOOK_EVERY = 30.0
_AGAIN = 1.0
_SETTLE = 0.05
_REST, _LONGEST_REST = 3.0, 0.5


class Listener(Protocol):
    """Who is told what the guard finds."""

    def repaired(self, text: str) -> None:
        """Something had been broken and is whole again."""
        ...

    def trouble(self, part: str, cause: str) -> None:
        """`part` does not work because of `cause`; '' = it does."""
        ...


class HostNetwork:
    """See the module. Made by `open`. `notes` says what was changed on the host, `view` what the
    network was configured with last."""

    def __init__(self, config: NetworkConfig, threads: "_Threads") -> None:
        self._config = config
        self._threads = threads
        self._pool = Pool(config.namespaces_ready)
        self._published: frozenset[tuple[int, int]] = frozenset()
        self._wanted = Wanted()
        self.view = NetworkView(config.node)
        self._lock = asyncio.Lock()
        self._walking = asyncio.Lock()
        self._walk: asyncio.Future[None] | None = None
        self._rested = 0.0
        self._opened: list[Nft | NetlinkSocket | Uplink | Plane] = []
        self._plane: Plane
        self._uplink: Uplink
        self._watches: list[Watch] = []
        self._disturbed = asyncio.Event()
        self.notes: tuple[str, ...] = ()
        self._closed = False

    @classmethod
    async def open(cls, config: NetworkConfig) -> "HostNetwork":
        """The node's network, made or found as an earlier agent left it. Raises Unavailable."""
        try:
            config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            network = cls(config, _Threads(config))
        except OSError as error:
            raise Unavailable(f"The node's network cannot be set up: {error}.") from error
        try:
            await network._start()
        except BaseException:
            network._threads.close()
            network._release()
            raise
        return network

    async def _start(self) -> None:
        threads, config, lock = self._threads, self._config, threading.Lock()
        opened = self._opened
        opened.append(host_nft := await threads.host.run(Nft, lock))
        opened.append(host_socket := await threads.host.run(NetlinkSocket, ROUTE))
        opened.append(inner_nft := await threads.plane.run(Nft, lock))
        opened.append(inner_socket := await threads.plane.run(NetlinkSocket, ROUTE))
        self._uplink = await threads.host.run(
            Uplink, config, threads.data_plane, inner_socket, host_nft
        )
        opened.append(self._uplink)
        underlay = Underlay(host_socket, config.node.address, config.vxlan_port, config.cluster)
        self._plane = await threads.plane.run(
            Plane.start, threads.data_plane, underlay, inner_nft, config.folder
        )
        opened.append(self._plane)
        self.notes = tuple(await threads.host.run(self._uplink.start))
        await self._listen()
        threads.spare(self._pool.fill)

    async def _listen(self) -> None:
        """Notice what others change, in the data plane and in the host's namespace."""
        threads, fabric, uplink = self._threads, self._plane.fabric, self._uplink
        outer, inner = uplink.port_ids
        judge = netwatch.plane(fabric.expected, lambda: uplink.inside)
        writer = await threads.plane.run(thread_id)
        within = (fabric.port_id, inner)
        self._watches.append(await threads.plane.run(Watch, writer, within, netwatch.PLANE, judge))
        judge = netwatch.host(uplink.name, lambda: uplink.address, uplink.routes)
        writer = await threads.host.run(thread_id)
        self._watches.append(await threads.host.run(Watch, writer, (outer,), netwatch.HOST, judge))
        for watch in self._watches:
            watch.listen(self._disturbed)

    async def configure(
        self,
        networks: Sequence[Network],
        nodes: Sequence[NodeItem],
        attachments: Sequence[AttachmentItem],
    ) -> None:
        """Make exactly these networks, peers and neighbours true. Raises Unavailable, Refused."""
        here, mtu = self._config.node, self._uplink.mtu
        wanted = links.wanted(here, networks, nodes, attachments, mtu)
        self.view = NetworkView(self._config.node, tuple(networks), tuple(attachments))
        async with self._lock:
            await self._threads.host.run(self._uplink.apply, wanted, self._published)
            await self._threads.plane.run(self._plane.configure, wanted)
            await self._threads.plane.run(self._plane.forget)
            self._wanted = wanted

    async def attach(
        self, task_id: str, addresses: Mapping[str, str], aliases: Sequence[str]
    ) -> NetworkSetup:
        """A namespace for the task, or the one it already has. Raises Rejected. Names and
        aliases are the DNS server's concern, which learns them from the traffic entries."""
        setup = await self._threads.plane.run(self._plane.attach, task_id, addresses, self._pool)
        self._threads.spare(self._pool.fill)
        return setup

    async def detach(self, task_id: str) -> None:
        """Remove the task's namespace, links, entries and tracked connections. Idempotent."""
        await self._threads.plane.run(self._plane.detach, task_id)
        if self._walk is None:
            self._walk = asyncio.ensure_future(self._forget())
            self._walk.add_done_callback(lambda walk: walk.cancelled() or walk.exception())
        await asyncio.shield(self._walk)

    async def _forget(self) -> None:
        """Going through the connections takes long: all tasks that leave during one walk, or in
        the rest after it, share the next."""
        loop = asyncio.get_running_loop()
        async with self._walking:
            await asyncio.sleep(self._rested - loop.time())
            self._walk = None
            began = loop.time()
            try:
                await self._threads.plane.run(self._plane.forget)
            finally:
                now = loop.time()
                self._rested = now + min(_LONGEST_REST, _REST * (now - began))

    async def reap(self, keep: Set[str]) -> Sequence[str]:
        """Detach the tasks found at start that are not in `keep`; which."""
        reaped = await self._threads.plane.run(self._plane.reap, keep)
        await self._threads.plane.run(self._plane.forget)
        return reaped

    async def route_services(self, entries: Sequence[TrafficEntry]) -> None:
        """Make the virtual addresses show exactly these entries. Raises Unavailable."""
        async with self._lock:
            published = await self._threads.plane.run(self._plane.route, entries)
            await self._threads.plane.run(self._plane.forget)
            if published != self._published:
                self._published = published
                await self._threads.host.run(self._uplink.apply, self._wanted, published)

    async def connections(self, addresses: Sequence[str]) -> Mapping[str, int]:
        """Address -> live TCP connections through VIPs that this node tracks to it."""
        return await self._threads.plane.run(self._plane.count, addresses)

    async def check(self) -> Sequence[str]:
        """Compare with the kernel and repair; one sentence each. Raises Unavailable."""
        async with self._lock:
            inside = await self._threads.plane.run(self._plane.verify)
            return [*inside, *await self._threads.host.run(self._uplink.ensure)]

    async def guard(self, listener: Listener) -> None:
        """Never returns: repair whenever others change something, and look every 30 s; soon
        again after a repair that failed."""
        pause = _LOOK_EVERY
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._disturbed.wait(), pause)
            await asyncio.sleep(_SETTLE)
            self._disturbed.clear()
            pause = _LOOK_EVERY
            try:
                for sentence in await self.check():
                    listener.repaired(sentence)
                listener.trouble("network", "")
                listener.trouble("firewall", " ".join(self._uplink.refused))
            except (Unavailable, OSError) as error:
                listener.trouble("network", str(error))
                pause = _AGAIN

    async def connect(self, task_id: str, address: str, port: int, timeout: float) -> str:
        """Try one TCP connection to the task's own address; '' or why it failed."""
        with await self._threads.plane.run(probes.tcp_socket) as made:
            why = await probes.connect(made, address, port, timeout)
        return await self._explain(task_id, port, why)

    async def http_get(
        self, task_id: str, address: str, port: int, path: str, timeout: float
    ) -> tuple[int, str]:
        """(status, '') of one GET to the task's own address, or (0, why)."""
        with await self._threads.plane.run(probes.tcp_socket) as made:
            status, why = await probes.http_get(made, address, port, path, timeout)
        return status, await self._explain(task_id, port, why)

    async def _explain(self, task_id: str, port: int, why: str) -> str:
        attached = self._plane.fabric.tasks.get(task_id)
        if not why.startswith("nothing listens") or attached is None:
            return why
        namespace = attached.namespace.fd
        lonely = await self._threads.plane.run(
            netns.within, namespace, probes.only_on_loopback, port
        )
        return f"{why}: its listener on that port is on 127.0.0.1 only" if lonely else why

    async def listen(self, kind: socket.SocketKind, port: int) -> socket.socket:
        """A bound, non-blocking socket in the data plane that tasks reach at their gateway; a
        stream socket listens. Raises Unavailable."""
        try:
            return await self._threads.plane.run(_bind, kind, port)
        except OSError as error:
            raise Unavailable(
                f"Port {port} cannot be served to tasks: {error.strerror}."
            ) from error

    async def close(self, *, purge: bool) -> None:
        """Leave everything running, or remove every trace of this node's networks; only the
        first call counts. Raises Unavailable when something could not be removed; the rest is."""
        if self._closed:
            return
        self._closed = True
        for watch in self._watches:
            watch.close()
        failed: list[str] = []
        if purge:
            failed = await self._threads.plane.run(self._plane.purge)
            await self._threads.host.run(self._uplink.remove)
        self._threads.close(self._pool)
        self._release()
        if purge:
            netns.unpin(self._config.folder / "node")
            shutil.rmtree(self._config.folder, ignore_errors=True)
        if failed:
            raise Unavailable(" ".join(failed), "Run it again.")

    def _release(self) -> None:
        """Close sockets; for when no thread uses them any more."""
        for thing in reversed(self._opened):
            thing.close()


class _Threads:
    """The three threads and the namespace between them."""

    def __init__(self, config: NetworkConfig) -> None:
        pinned = config.folder / "node"
        found = netns.open_pinned(pinned)
        if found is None:
            found, _ = netns.create(prepare)
            netns.pin(found, pinned)
        self.data_plane = found
        outside = None if config.host_netns is None else os.open(config.host_netns, os.O_RDONLY)
        self.plane = NamespaceThread(found, "data-plane")
        self.host = NamespaceThread(outside, "host-net")
        self._spare = NamespaceThread(None, "namespaces")
        if outside is not None:
            os.close(outside)

    def spare(self, work: Callable[[], None]) -> None:
        """Do it some time soon."""
        self._spare.later(work)

    def close(self, pool: Pool | None = None) -> None:
        """End them, and empty the pool when nothing fills it any more."""
        for thread in (self._spare, self.plane, self.host):
            thread.close()
        if pool is not None:
            pool.close()
        os.close(self.data_plane)


def _bind(kind: socket.SocketKind, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("0.0.0.0", port))
        if kind is socket.SOCK_STREAM:
            made.listen(128)
    except OSError:
        made.close()
        raise
    return made
