"""A node's network inside a private namespace that plays the host, with an outside to talk to.

Nothing here touches the machine's own namespace. What a killed test leaves is pinned below a
folder that carries the number of its process; the next lab removes it.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from stackd.aio import proc
from stackd.core.model.assignment import NodeItem
from stackd.core.model.ids import NetworkId, RevisionId, TaskId
from stackd.core.model.network import Network
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.host import netns, rtnl
from stackd.host.datapath import HostNetwork
from stackd.host.netlink import ROUTE, NetlinkSocket
from stackd.host.rtnl import Route, Veth
from stackd.host.uplink import NetworkConfig

P = ParamSpec("P")
T = TypeVar("T")

HOST_ADDRESS, OUTSIDE_ADDRESS = "198.51.100.1", "198.51.100.2"
POOL = "10.231.0.0/16"
_LABS = Path("/tmp")
FRONT = Network(id=NetworkId("front001"), name="front", vni=7001, subnet="10.231.1.0/24")
BACK = Network(id=NetworkId("back0002"), name="back", vni=7002, subnet="10.231.2.0/24")
INNER = Network(
    id=NetworkId("inner003"), name="inner", vni=7003, subnet="10.231.3.0/24", internal=True
)
NODE = NodeItem(id="n1", name="node1", index=1, address=HOST_ADDRESS)
NETWORKS = (FRONT, BACK, INNER)


async def inside(fd: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking work in a namespace, in a thread that is thrown away."""
    thread = netns.NamespaceThread(fd, "lab")
    try:
        return await thread.run(work, *args, **kwargs)
    finally:
        thread.close()


def _nothing() -> None:
    return None


def _wire(host: int, outside: int) -> None:
    netlink = NetlinkSocket(ROUTE)
    try:
        # a new namespace takes over whatever the machine's own has
        netns.write_sysctl("ipv4/ip_forward", "0")
        netlink.request([rtnl.set_up(1), rtnl.add_veth(Veth("eth0", "eth0", outside, 1500))])
        index = rtnl.need(netlink, "eth0")
        netlink.request([rtnl.add_address(index, HOST_ADDRESS, 24)])
        netlink.request([rtnl.add_route(Route("0.0.0.0/0", index, OUTSIDE_ADDRESS))])
    finally:
        netlink.close()


def _outside_up() -> None:
    netlink = NetlinkSocket(ROUTE)
    try:
        index = rtnl.need(netlink, "eth0")
        netlink.request(
            [rtnl.set_up(1), rtnl.set_up(index), rtnl.add_address(index, OUTSIDE_ADDRESS, 24)]
        )
    finally:
        netlink.close()


@dataclass
class Lab:
    """The namespaces of one test and the network under test."""

    folder: Path
    host: int
    outside: int
    cluster: str
    network: HostNetwork
    _open: list[int] = field(default_factory=list)

    @property
    def config(self) -> NetworkConfig:
        return config(self.folder, self.cluster)

    def task(self, task: str) -> int:
        """A descriptor of a task's namespace."""
        fd = os.open(self.folder / "node1" / f"t-{task}", os.O_RDONLY)
        self._open.append(fd)
        return fd

    @contextlib.contextmanager
    def other(self, path: str) -> Iterator[int]:
        """A descriptor of any pinned namespace."""
        fd = os.open(path, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    def plane(self) -> int:
        """A descriptor of the data-plane namespace."""
        fd = os.open(self.folder / "node1" / "node", os.O_RDONLY)
        self._open.append(fd)
        return fd

    async def attach(self, task: str, **addresses: str) -> int:
        """Attach a task; networks by name: front, back, inner."""
        setup = await self.network.attach(task, by_id(addresses), ())
        fd = self.task(task)
        # a link forwards once the kernel has noticed its carrier, soon but not at once
        assert await inside(fd, reaches, setup.resolver)
        return fd

    async def start(self) -> HostNetwork:
        """Open the network as a starting agent does, and configure it."""
        self.network = await HostNetwork.open(self.config)
        await self.network.configure(NETWORKS, (NODE,), ())
        return self.network

    def release(self) -> None:
        for fd in (*self._open, self.host, self.outside):
            os.close(fd)
        self._open.clear()


class Repairs:
    """What the guard has told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.troubles: dict[str, str] = {}
        self._heard = 0
        self._more = asyncio.Event()

    def repaired(self, text: str) -> None:
        self.told.append(text)
        self._more.set()

    def trouble(self, part: str, cause: str) -> None:
        self.troubles[part] = cause

    async def next(self) -> str:
        """The latest, once there is one that was not told of by the call before."""
        while len(self.told) == self._heard:
            self._more.clear()
            await self._more.wait()
        self._heard = len(self.told)
        return self.told[-1]


def by_id(addresses: Mapping[str, str]) -> dict[str, str]:
    ids = {network.name: str(network.id) for network in NETWORKS}
    return {ids[name]: address for name, address in addresses.items()}


def config(folder: Path, cluster: str) -> NetworkConfig:
    return NetworkConfig(
        cluster=cluster,
        node=NODE,
        folder=folder / "node1",
        shared=folder / "shared",
        pool=POOL,
        host_netns=folder / "host",
        namespaces_ready=2,
    )


@contextlib.asynccontextmanager
async def lab() -> AsyncIterator[Lab]:
    """A lab with networks front, back and inner."""
    _sweep()
    cluster = secrets.token_hex(4)
    folder = _LABS / f"stackd-lab-{os.getpid()}-{cluster}"
    folder.mkdir(mode=0o700)
    host, _ = netns.create(_nothing)
    outside, _ = netns.create(_nothing)
    await inside(host, _wire, host, outside)
    await inside(outside, _outside_up)
    await inside(host, _up_host)
    netns.pin(host, folder / "host")
    made = Lab(folder, host, outside, cluster, await HostNetwork.open(config(folder, cluster)))
    try:
        await made.network.configure(NETWORKS, (NODE,), ())
        yield made
    finally:
        try:
            await made.network.close(purge=True)
        finally:
            _remove(folder)
            made.release()


def _sweep() -> None:
    """Remove the labs of processes that have gone."""
    for folder in _LABS.glob("stackd-lab-*-*"):
        if not Path("/proc", folder.name.split("-")[2]).exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    for path in (folder / "host", *folder.glob("*/*")):
        if path.is_file():
            netns.unpin(path)
    shutil.rmtree(folder, ignore_errors=True)


def _up_host() -> None:
    netlink = NetlinkSocket(ROUTE)
    try:
        netlink.request([rtnl.set_up(rtnl.need(netlink, "eth0"))])
        index = rtnl.need(netlink, "eth0")
        netlink.request([rtnl.add_route(Route("0.0.0.0/0", index, OUTSIDE_ADDRESS))])
    finally:
        netlink.close()


def entry(service: str, vip: str, *addresses: str, **fields: object) -> TrafficEntry:
    """A service on `front` whose endpoints have these addresses, all of revision r1."""
    made: dict[str, object] = {
        "stack": "lab",
        "service": service,
        "vips": {str(FRONT.id): vip},
        "endpoints": tuple(endpoint(address) for address in addresses),
        "weights": {"r1": 10000},
    }
    return TrafficEntry(**(made | fields))  # type: ignore[arg-type]


def endpoint(address: str, revision: str = "r1", *, draining: bool = False) -> Endpoint:
    return Endpoint(
        task=TaskId(f"t{address}"),
        revision=RevisionId(revision),
        node="n1",
        state=EndpointState.DRAINING if draining else EndpointState.READY,
        addresses={str(FRONT.id): address},
    )


# blocking halves of conversations, for `inside`


def open_server(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    server = socket.socket(socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    if kind is socket.SOCK_STREAM:
        server.listen(512)
    return server


@contextlib.asynccontextmanager
async def serving(
    fd: int, name: str, port: int = 8080, address: str = "0.0.0.0"
) -> AsyncIterator[list[str]]:
    """A server by TCP and UDP in a namespace: answers its name; yields who has asked."""
    seen: list[str] = []
    loop = asyncio.get_running_loop()
    tcp = await inside(fd, open_server, address, port, socket.SOCK_STREAM)
    udp = await inside(fd, open_server, address, port, socket.SOCK_DGRAM)
    for made in (tcp, udp):
        made.setblocking(False)

    async def answer_tcp() -> None:
        while True:
            connection, peer = await loop.sock_accept(tcp)
            with connection:
                seen.append(peer[0])
                with contextlib.suppress(OSError):
                    await loop.sock_sendall(connection, name.encode())

    async def answer_udp() -> None:
        while True:
            _, peer = await loop.sock_recvfrom(udp, 2048)
            seen.append(peer[0])
            await loop.sock_sendto(udp, name.encode(), peer)

    jobs = [asyncio.ensure_future(answer_tcp()), asyncio.ensure_future(answer_udp())]
    try:
        yield seen
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        tcp.close()
        udp.close()


def ask(address: str, port: int = 8080, timeout: float = 2.0) -> str:
    """One TCP question; the answer, or the error's name."""
    try:
        with socket.create_connection((address, port), timeout) as made:
            return made.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def ask_udp(address: str, port: int = 8080, timeout: float = 1.0, times: int = 1) -> list[str]:
    """UDP questions from one source port; answers or errors' names."""
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(timeout)
        made.connect((address, port))
        for _ in range(times):
            try:
                made.send(b"?")
                answers.append(made.recv(100).decode())
            except OSError as error:
                answers.append(type(error).__name__)
    return answers


def ask_often(address: str, times: int) -> list[str]:
    return [ask(address) for _ in range(times)]


def ping(address: str, timeout: float = 2.0) -> bool:
    """One ICMP echo."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as made:
        made.settimeout(timeout)
        head = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
        total = sum(struct.unpack("!4H", head))
        checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        made.sendto(struct.pack("!BBHHH", 8, 0, checksum, 77, 1), (address, 0))
        try:
            while True:
                answer, peer = made.recvfrom(200)
                if peer[0] == address and answer[20] == 0:
                    return True
        except TimeoutError:
            return False


def reaches(address: str) -> bool:
    """Whether one of 25 pings, 0.2 s apart, comes back."""
    return any(ping(address, 0.2) for _ in range(25))


async def run_in(fd: int, *argv: str) -> str:
    """A command in a namespace; its output. Fails the test when the command fails."""
    command = proc.Command(("nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", *argv))
    done = await proc.run(command)
    assert done.code == 0, (argv, done.stderr)
    return done.stdout.decode()
