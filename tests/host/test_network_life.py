"""Restarts, faults made by others, and the end: adopted, repaired, nothing left."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.network import naming
from stackd.errors import Unavailable
from stackd.host import netns
from stackd.host.datapath import HostNetwork
from tests.host import netlab
from tests.host.netlab import Lab, ask, ask_often, entry, inside, run_in, serving

pytestmark = pytest.mark.host

A, B, VIP = "10.231.1.40", "10.231.1.41", "10.231.1.200"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with netlab.lab() as made:
        yield made


async def test_tasks_and_vips_survive_a_restart_and_unknown_tasks_are_reaped(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    await lab.network.route_services([entry("web", VIP, B)])
    client = await inside(b, netlab.open_server, "0.0.0.0", 9000, socket.SOCK_STREAM)
    held = await inside(a, socket.create_connection, (VIP, 9000))
    await lab.network.close(purge=False)
    with client, held:
        async with serving(b, "b"):
            assert await inside(a, ask, VIP) == "b"
            await lab.start()
            assert await inside(a, ask, VIP) == "b"
            setup = await lab.network.attach("taska", netlab.by_id({"front": A}), ())
            assert setup.resolver == "10.231.1.1"
            assert await lab.network.check() == []
            assert await lab.network.reap({"taska"}) == ["taskb"]
            held.sendall(b"x")
            await lab.network.route_services([entry("web", VIP)])
            assert await inside(a, ask, VIP) == "ConnectionRefusedError"
    assert sorted(p.name for p in (lab.folder / "node1").iterdir()) == [
        "node",
        "r-taska",
        "t-taska",
    ]


async def remote_node(lab: Lab) -> None:
    peer = NodeItem(id="n2", name="node2", index=2, address="198.51.100.77")
    there = AttachmentItem(
        task="far",
        network=str(netlab.FRONT.id),
        address="10.231.1.90",
        node="n2",
        stack="lab",
        service="far",
        slot="1",
    )
    await lab.network.configure(netlab.NETWORKS, (netlab.NODE, peer), (there,))


MAC = "02:00:1b:59:00:02"
"""Node 2's bridge in `front`."""


async def entries(lab: Lab) -> tuple[list[str], list[str]]:
    """Neighbours of the bridge, and what the VXLAN device knows of node 2."""
    neighbours = await run_in(lab.plane(), "ip", "neigh", "show", "dev", "bfront001")
    tunnels = await run_in(lab.plane(), "bridge", "fdb", "show", "dev", "vfront001")
    known = [line for line in tunnels.splitlines() if MAC in line]
    return sorted(line.strip() for line in neighbours.splitlines()), known


async def test_remote_tasks_are_one_neighbour_and_one_tunnel_per_node(lab: Lab) -> None:
    await remote_node(lab)
    assert await entries(lab) == (
        [f"10.231.1.2 lladdr {MAC} PERMANENT", f"10.231.1.90 lladdr {MAC} PERMANENT"],
        [
            f"{MAC} master bfront001 static",
            f"{MAC} dst 198.51.100.77 link-netnsid 0 self permanent",
        ],
    )
    await lab.network.close(purge=False)
    await lab.start()  # the peer has gone meanwhile
    assert await entries(lab) == ([], [])


Fault = tuple[str, ...]
FAULTS: dict[str, Fault] = {
    "task link deleted": ("ip", "link", "del", "ttaskb0"),
    "task link down": ("ip", "link", "set", "ttaskb0", "down"),
    "task link without master": ("ip", "link", "set", "ttaskb0", "nomaster"),
    "bridge deleted": ("ip", "link", "del", "bfront001"),
    "bridge down": ("ip", "link", "set", "bfront001", "down"),
    "vxlan deleted": ("ip", "link", "del", "vfront001"),
    "vxlan port floods": ("bridge", "link", "set", "dev", "vfront001", "flood", "on"),
    "gateway removed": ("ip", "addr", "del", "10.231.1.1/24", "dev", "bfront001"),
    "gateway's route removed": ("ip", "route", "del", "10.231.1.0/24", "dev", "bfront001"),
    "routes flushed": ("ip", "route", "flush", "table", "main"),
    "all tables of routes flushed": ("ip", "route", "flush", "table", "all"),
    "rule to the routes removed": ("ip", "rule", "del", "pref", "32766"),
    "rules flushed": ("ip", "rule", "flush"),
    "address of the uplink removed": ("ip", "addr", "flush", "dev", "up0"),
    "neighbours flushed": ("ip", "neigh", "flush", "dev", "bfront001", "nud", "permanent"),
    "neighbour replaced": (
        *("ip", "neigh", "replace", "10.231.1.90", "lladdr", "02:00:00:00:00:99"),
        *("dev", "bfront001", "nud", "permanent"),
    ),
    "forwarding entry of a task removed": (
        *("bridge", "fdb", "del", "02:42:0a:e7:01:29", "dev", "ttaskb0", "master"),
    ),
    "forwarding entry of the bridge removed": (
        *("bridge", "fdb", "del", MAC, "dev", "vfront001", "master"),
    ),
    "neighbour removed": ("ip", "neigh", "del", "10.231.1.41", "dev", "bfront001"),
    "ruleset flushed": ("nft", "flush", "ruleset"),
    "forwarding entry removed": ("bridge", "fdb", "del", MAC, "dev", "vfront001", "self"),
    "vxlan down": ("ip", "link", "set", "vfront001", "down"),
    "uplink deleted": ("ip", "link", "del", "up0"),
    "uplink down": ("ip", "link", "set", "up0", "down"),
    "default route removed": ("ip", "route", "del", "default"),
    "no forwarding": ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
    "no forwarding of one link": ("sysctl", "-qw", "net.ipv4.conf.bfront001.forwarding=0"),
    "source check": ("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"),
}
UPLINK = "UPLINK"
HOST_FAULTS: dict[str, Fault] = {
    "ruleset of the host flushed": ("nft", "flush", "ruleset"),
    "uplink down on the host": ("ip", "link", "set", UPLINK, "down"),
    "uplink deleted on the host": ("ip", "link", "del", UPLINK),
    "address of the uplink removed on the host": ("ip", "addr", "flush", "dev", UPLINK),
    "route of the uplink removed on the host": ("ip", "route", "flush", "dev", UPLINK),
    "route to the pool removed": ("ip", "route", "del", netlab.POOL),
    "no forwarding on the host": ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_what_others_break_is_noticed_and_repaired(lab: Lab, fault: Fault) -> None:
    await repaired_after(lab, lab.plane(), fault)


@pytest.mark.parametrize("fault", HOST_FAULTS.values(), ids=HOST_FAULTS)
async def test_what_others_break_on_the_host_is_repaired(lab: Lab, fault: Fault) -> None:
    uplink = naming.host_uplink(lab.cluster, netlab.NODE.index)
    await repaired_after(lab, lab.host, tuple(uplink if w == UPLINK else w for w in fault))


async def repaired_after(lab: Lab, place: int, fault: Fault) -> None:
    """The guard is woken by the fault (its timer alone comes after 30 s), says what it has
    repaired, and everything works as before; a connection through a VIP has survived."""
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    await remote_node(lab)
    await lab.network.route_services([entry("web", VIP, B)])
    before = await entries(lab)
    repaired = netlab.Repairs()
    guard = asyncio.ensure_future(lab.network.guard(repaired))
    server = await inside(b, netlab.open_server, "0.0.0.0", 9000, socket.SOCK_STREAM)
    held = await inside(a, socket.create_connection, (VIP, 9000))
    try:
        async with serving(b, "b"), serving(lab.outside, "outside"):
            await run_in(place, *fault)
            await asyncio.wait_for(repaired.next(), 20)
            assert await inside(a, ask_often, VIP, 3) == ["b"] * 3
            assert await inside(lab.host, ask, B) == "b"
            assert await inside(b, ask, netlab.OUTSIDE_ADDRESS) == "outside"
            await asyncio.to_thread(exchange, server, held)
        assert await entries(lab) == before
        assert await lab.network.check() == []
    finally:
        server.close()
        held.close()
        guard.cancel()
        await asyncio.gather(guard, return_exceptions=True)


def exchange(server: socket.socket, held: socket.socket) -> None:
    """One word over a connection made before."""
    peer, _ = server.accept()
    with peer:
        peer.settimeout(10)
        held.sendall(b"still here")
        assert peer.recv(100) == b"still here"


async def test_our_own_changes_are_not_taken_for_others(lab: Lab) -> None:
    repaired = netlab.Repairs()
    guard = asyncio.ensure_future(lab.network.guard(repaired))
    for n in range(5):
        await lab.attach(f"task{n}", front=f"10.231.1.{50 + n}")
        await lab.network.route_services([entry("web", VIP, *[f"10.231.1.{50 + n}"] * 1)])
    for n in range(5):
        await lab.network.detach(f"task{n}")
    await lab.network.route_services([])
    await asyncio.sleep(0.3)
    guard.cancel()
    await asyncio.gather(guard, return_exceptions=True)
    assert repaired.told == []


async def test_purge_leaves_nothing(lab: Lab) -> None:
    async def traces() -> tuple[str, ...]:
        commands = (
            ("ip", "-o", "link"),
            ("ip", "-4", "route"),
            ("nft", "list", "ruleset"),
            ("ss", "-lnuH"),
        )
        return tuple([await run_in(lab.host, *command) for command in commands])

    await lab.network.close(purge=True)
    forwarding = await inside(lab.host, netns.read_sysctl, "ipv4/ip_forward")
    clean = await traces()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(lab.folder / "node1") not in mounts
    assert not (lab.folder / "node1").exists()
    assert forwarding == "0"
    assert "stackd" not in clean[2]
    await lab.start()
    await lab.attach("taska", front=A, back="10.231.2.40")
    await lab.network.route_services([entry("web", VIP, A)])
    assert await traces() != clean
    for fd in lab._open:
        os.close(fd)
    lab._open.clear()
    await lab.network.close(purge=True)
    assert await traces() == clean
    assert await inside(lab.host, netns.read_sysctl, "ipv4/ip_forward") == "0"
    await lab.start()  # and it can begin again
    await lab.attach("taska", front=A)


async def test_a_purge_after_a_kill_leaves_nothing_either(lab: Lab) -> None:
    await lab.attach("taska", front=A)
    await lab.network.close(purge=False)
    (lab.folder / "node1" / "r-taska").unlink()  # as if killed half-way
    lab.network = await HostNetwork.open(lab.config)
    await lab.network.close(purge=True)
    assert str(lab.folder / "node1") not in Path("/proc/self/mountinfo").read_text()
    await lab.start()


async def test_a_route_of_something_else_is_left_alone(lab: Lab) -> None:
    await lab.network.close(purge=True)
    assert not (lab.folder / "shared").exists()
    pool = lab.config.pool
    await run_in(lab.host, "ip", "route", "add", pool, "dev", "lo")
    with pytest.raises(Unavailable, match="something else"):
        lab.network = await HostNetwork.open(lab.config)
    assert "dev lo" in await run_in(lab.host, "ip", "route", "show", pool)
    await run_in(lab.host, "ip", "route", "del", pool)
    await lab.start()


async def test_a_network_takes_no_addresses_from_a_route_of_something_else(lab: Lab) -> None:
    """A subnet that a stack file names may lie within the machine's own network."""
    await run_in(lab.host, "ip", "route", "add", "192.168.0.0/17", "dev", "lo")
    own = msgspec.structs.replace(netlab.FRONT, subnet="192.168.9.0/24")
    free = msgspec.structs.replace(netlab.BACK, subnet="192.168.200.0/24")
    await lab.network.configure((own, free), (netlab.NODE,), ())
    assert not await run_in(lab.host, "ip", "route", "show", own.subnet)
    assert "via" in await run_in(lab.host, "ip", "route", "show", free.subnet)
    await run_in(lab.host, "ip", "route", "del", "192.168.0.0/17")
