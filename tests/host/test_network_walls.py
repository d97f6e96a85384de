"""What must not pass: forged sources, the host's own services, overlay forgeries, foreign drops."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from stackd.core.model.assignment import NodeItem
from stackd.core.model.ids import NetworkId
from stackd.core.model.network import Network
from stackd.core.model.traffic import IngressPort
from stackd.core.network import addressing
from stackd.errors import Rejected, Unavailable
from stackd.host import netns
from stackd.host.datapath import HostNetwork
from stackd.host.nftables import Nft
from stackd.host.uplink import NetworkConfig
from tests.host import netlab
from tests.host.netlab import (
    HOST_ADDRESS,
    OUTSIDE_ADDRESS,
    Lab,
    ask,
    ask_udp,
    entry,
    inside,
    run_in,
    serving,
)

pytestmark = pytest.mark.host

A, B = "10.231.1.40", "10.231.1.41"
GATEWAY_MAC = addressing.bridge_mac(7001, 1)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with netlab.lab() as made:
        yield made


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def datagram(source: str, target: str, port: int, data: bytes = b"forged!!") -> bytes:
    """An IPv4 UDP packet without UDP checksum."""
    udp: bytes = struct.pack("!HHHH", 5555, port, 8 + len(data), 0) + data
    head: bytes = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    ends: bytes = socket.inet_aton(source) + socket.inet_aton(target)
    return head[:10] + struct.pack("!H", checksum(head + ends)) + ends + udp


def send_frames(device: str, frames: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as made:
        made.bind((device, 0x0800))
        for frame in frames:
            made.send(frame)


class Heard:
    """Source addresses of what has arrived."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self._some = asyncio.Event()

    def add(self, source: str) -> None:
        self.sources.append(source)
        self._some.set()

    async def something(self) -> None:
        """Return when anything has arrived; fails the test when nothing does."""
        await asyncio.wait_for(self._some.wait(), 5)


@contextlib.asynccontextmanager
async def hearing(fd: int, port: int) -> AsyncIterator["Heard"]:
    """UDP datagrams that arrive in a namespace, by source address."""
    heard = Heard()
    made = await inside(fd, netlab.open_server, "0.0.0.0", port, socket.SOCK_DGRAM)
    made.setblocking(False)
    loop = asyncio.get_running_loop()

    async def hear() -> None:
        while True:
            heard.add((await loop.sock_recvfrom(made, 2048))[1][0])

    job = asyncio.ensure_future(hear())
    try:
        yield heard
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        made.close()


async def test_forged_sources_are_dropped(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    own, gateway = mac(addressing.task_mac(A)), mac(GATEWAY_MAC)
    honest = gateway + own + b"\x08\x00" + datagram(A, B, 7000)
    wrong_ip = gateway + own + b"\x08\x00" + datagram("10.231.1.99", B, 7000)
    wrong_mac = gateway + mac("02:42:0a:e7:01:63") + b"\x08\x00" + datagram(A, B, 7000)
    other_task = gateway + mac(addressing.task_mac(B)) + b"\x08\x00" + datagram(B, A, 7000)
    straight = mac(addressing.task_mac(B)) + own + b"\x08\x00" + datagram(A, B, 7000)
    async with hearing(b, 7000) as at_b, hearing(a, 7000) as at_a:
        await inside(
            a, send_frames, "eth0", [wrong_ip, wrong_mac, other_task, straight] * 10 + [honest]
        )
        await at_b.something()
    assert (at_b.sources, at_a.sources) == ([A], [])


async def test_tasks_reach_the_outside_as_the_node_and_internal_ones_do_not(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    i = await lab.attach("taski", inner="10.231.3.40")
    async with serving(lab.outside, "outside") as seen:
        assert await inside(a, ask, OUTSIDE_ADDRESS) == "outside"
        assert await inside(a, ask_udp, OUTSIDE_ADDRESS) == ["outside"]
        assert await inside(i, ask, OUTSIDE_ADDRESS) == "OSError"
        await run_in(i, "ip", "route", "add", "default", "via", "10.231.3.1", "dev", "eth0")
        assert await inside(i, ask, OUTSIDE_ADDRESS) == "OSError"
    assert seen == [HOST_ADDRESS, HOST_ADDRESS]


async def test_the_host_reaches_tasks_and_its_neighbours_do_not(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    i = await lab.attach("taski", inner="10.231.3.40")
    async with serving(a, "a") as seen, serving(i, "i"):
        assert await inside(lab.host, ask, A) == "a"
        assert await inside(lab.host, ask, "10.231.3.40") == "i"
        await run_in(lab.outside, "ip", "route", "add", netlab.POOL, "via", HOST_ADDRESS)
        assert await inside(lab.outside, ask, A, 8080, 0.5) == "TimeoutError"
    assert seen == ["10.231.1.1"]


async def test_tasks_reach_published_ports_of_the_host_and_nothing_else(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    published = entry("web", "10.231.1.200", A, ports=(IngressPort(published=8080, target=80),))
    async with (
        serving(lab.host, "host"),
        serving(lab.host, "ssh", 22),
        serving(lab.host, "api", 7420),
    ):
        assert await inside(a, ask, HOST_ADDRESS) == "ConnectionRefusedError"
        await lab.network.route_services([published])
        assert await inside(a, ask, HOST_ADDRESS) == "host"
        assert await inside(a, ask, HOST_ADDRESS, 22) == "ConnectionRefusedError"
        assert await inside(a, ask, HOST_ADDRESS, 7420) == "ConnectionRefusedError"
        uplink = (await run_in(lab.plane(), "ip", "-4", "route", "show", "default")).split()[2]
        assert await inside(a, ask, uplink, 22) == "OSError"
        assert await inside(lab.outside, ask, HOST_ADDRESS, 22) == "ssh"


def vxlan_frame(vni: int, inner: bytes) -> bytes:
    return struct.pack("!II", 0x08000000, vni << 8) + inner


def throw(address: str, port: int, data: bytes, times: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        for _ in range(times):
            made.sendto(data, (address, port))


async def test_an_outsider_cannot_inject_overlay_frames(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    peer = NodeItem(id="n2", name="node2", index=2, address="198.51.100.77")
    await lab.network.configure(netlab.NETWORKS, (netlab.NODE, peer), ())
    peer_mac, task = mac(addressing.bridge_mac(7001, 2)), mac(GATEWAY_MAC)
    frame = vxlan_frame(7001, task + peer_mac + b"\x08\x00" + datagram("10.231.1.2", A, 7000))
    async with hearing(a, 7000) as heard:
        await inside(lab.outside, throw, HOST_ADDRESS, 4789, frame, 5)
        drops = await run_in(lab.host, "nft", "list", "table", "ip", host_table(lab))
        assert "counter packets 5 " in drops
        assert heard.sources == []
        await run_in(lab.outside, "ip", "address", "add", "198.51.100.77/24", "dev", "eth0")
        await inside(lab.outside, throw_from, "198.51.100.77", HOST_ADDRESS, frame)
        await heard.something()
    assert heard.sources == ["10.231.1.2"]


def throw_from(source: str, address: str, data: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((source, 0))
        made.sendto(data, (address, 4789))


def host_table(lab: Lab) -> str:
    return f"stackd_{lab.cluster}_1"


async def test_a_task_cannot_send_overlay_frames_to_nodes_or_ask_for_metadata(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    peer = NodeItem(id="n2", name="node2", index=2, address=OUTSIDE_ADDRESS)
    await lab.network.configure(netlab.NETWORKS, (netlab.NODE, peer), ())
    async with hearing(lab.outside, 4789) as heard, hearing(lab.outside, 5000) as other:
        await inside(a, throw, OUTSIDE_ADDRESS, 4789, b"forged", 5)
        await inside(a, throw, OUTSIDE_ADDRESS, 5000, b"honest", 1)
        await other.something()
        assert (heard.sources, other.sources) == ([], [HOST_ADDRESS])
    async with serving(lab.outside, "api", 7420), serving(lab.outside, "metadata", 80):
        assert await inside(a, ask, OUTSIDE_ADDRESS, 7420) == "ConnectionRefusedError"
        assert await inside(a, ask, "169.254.169.254", 80) == "OSError"


DROP = "add table ip filter; add chain ip filter FORWARD {{ {hook} }}; {more}"
HOOK = "type filter hook forward priority 0; policy drop;"
ACCEPTING = "type filter hook forward priority 0; policy accept;"


@pytest.mark.parametrize(
    ("rules", "chain"),
    [
        (DROP.format(hook=HOOK, more=""), "FORWARD"),
        (
            DROP.format(
                hook=HOOK,
                more="add chain ip filter DOCKER-USER;add rule ip filter FORWARD jump DOCKER-USER;",
            ),
            "DOCKER-USER",
        ),
        (DROP.format(hook=ACCEPTING, more="add rule ip filter FORWARD reject;"), "FORWARD"),
    ],
    ids=["policy drop", "docker", "final reject"],
)
async def test_a_foreign_drop_is_passed_by_two_marked_rules(rules: str, chain: str) -> None:
    host_rules: list[str] = []

    async with netlab.lab() as lab:
        a = await lab.attach("taska", front=A)
        async with serving(lab.outside, "outside"), serving(a, "a"):
            await run_in(lab.host, "nft", rules)
            host_rules.append(await run_in(lab.host, "nft", "list", "table", "ip", "filter"))
            assert await inside(a, ask, OUTSIDE_ADDRESS, 8080, 0.5) != "outside"
            (sentence,) = await lab.network.check()
            assert sentence.startswith(f"Chain ip filter {chain} drops forwarded traffic")
            assert await inside(a, ask, OUTSIDE_ADDRESS) == "outside"
            assert await inside(lab.host, ask, A) == "a"
            assert await lab.network.check() == []
        await lab.network.close(purge=True)
        after = await run_in(lab.host, "nft", "list", "table", "ip", "filter")
        assert after == host_rules[0]
        await lab.start()


async def test_a_foreign_drop_that_cannot_be_edited_is_told(lab: Lab) -> None:
    rules = f"table inet owned {{ flags owner; chain shut {{ {HOOK} }}\n}}"
    nft = await inside(lab.host, Nft, threading.Lock())
    repairs = netlab.Repairs()
    guard = asyncio.ensure_future(lab.network.guard(repairs))
    try:
        await inside(lab.host, nft.run, rules)
        await asyncio.wait_for(until(lambda: bool(repairs.troubles.get("firewall"))), 20)
        told = repairs.troubles["firewall"]
        assert told.startswith("Chain inet owned shut drops forwarded traffic and cannot be edited")
        await lab.network.close(purge=True)
        assert lab.cluster not in await run_in(lab.host, "nft", "list", "tables")
    finally:
        nft.close()  # its table goes with it
        guard.cancel()
        await asyncio.gather(guard, return_exceptions=True)


async def until(check: Callable[[], bool]) -> None:
    while not check():  # noqa: ASYNC110 - the guard tells nobody that it has told
        await asyncio.sleep(0.02)


async def test_tables_of_two_clusters_do_not_disturb_each_other(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    other = lab.folder / "other"
    other.mkdir()
    config = NetworkConfig(
        cluster="otherone",
        node=netlab.NODE,
        folder=other / "node1",
        shared=lab.folder / "shared",
        pool="10.232.0.0/16",
        host_netns=lab.folder / "host",
    )
    second = await HostNetwork.open(config)
    mine = Network(id=NetworkId("other001"), name="front", vni=8001, subnet="10.232.1.0/24")
    await second.configure((mine,), (netlab.NODE,), ())
    setup = await second.attach("taska", {"other001": "10.232.1.40"}, ())
    with lab.other(setup.netns) as theirs:
        async with (
            serving(theirs, "theirs"),
            serving(a, "a"),
            serving(lab.outside, "outside"),
        ):
            assert await inside(lab.host, ask, "10.232.1.40") == "theirs"
            assert await inside(lab.host, ask, A) == "a"
            assert await inside(a, ask, "10.232.1.40", 8080, 0.5) == "TimeoutError"
            assert await inside(theirs, ask, OUTSIDE_ADDRESS) == "outside"
    await second.close(purge=True)
    assert await netns_forwarding(lab) == "1"
    async with serving(a, "a"):
        assert await inside(lab.host, ask, A) == "a"


async def netns_forwarding(lab: Lab) -> str:
    return str(await inside(lab.host, netns.read_sysctl, "ipv4/ip_forward"))


async def test_a_vni_in_use_is_named(lab: Lab) -> None:
    await run_in(
        lab.host,
        *("ip", "link", "add", "foreign", "type", "vxlan", "id", "7100", "dstport", "4789"),
    )
    taken = Network(id=NetworkId("taken001"), name="taken", vni=7100, subnet="10.231.9.0/24")
    with pytest.raises(Unavailable, match="VNI 7100 of network taken001 is in use"):
        await lab.network.configure((taken, *netlab.NETWORKS), (netlab.NODE,), ())
    with pytest.raises(Rejected, match="taken001 is not set up"):
        await lab.network.attach("taskc", {"taken001": "10.231.9.40"}, ())
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    async with serving(b, "b"):
        assert await inside(a, ask, B) == "b"
    await run_in(lab.host, "ip", "link", "del", "foreign")
    await lab.network.configure((taken, *netlab.NETWORKS), (netlab.NODE,), ())
    await lab.network.attach("taskc", {"taken001": "10.231.9.40"}, ())
