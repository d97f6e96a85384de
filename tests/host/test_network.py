"""Tasks of one node talk over their networks, and only over those, on the real kernel."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from stackd.core.model.traffic import TrafficEntry
from tests.host import netlab
from tests.host.netlab import Lab, ask, ask_often, ask_udp, entry, inside, ping, run_in, serving

pytestmark = pytest.mark.host

A, B, C, VIP = "10.231.1.40", "10.231.1.41", "10.231.1.42", "10.231.1.200"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with netlab.lab() as made:
        yield made


async def test_two_tasks_reach_each_other_on_one_network(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    assert await inside(a, ping, B)
    async with serving(b, "b") as seen:
        assert await inside(a, ask, B) == "b"
        assert await inside(a, ask_udp, B) == ["b"]
    assert seen == [A, A]


async def test_other_networks_are_out_of_reach(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", back="10.231.2.40")
    async with serving(b, "b") as seen:
        assert await inside(a, ask, "10.231.2.40", 8080, 0.5) == "TimeoutError"
        assert await inside(a, ask, "10.231.2.1", 53, 0.5) == "ConnectionRefusedError"
    assert seen == []


async def test_a_task_on_two_networks_reaches_both(lab: Lab) -> None:
    a = await lab.attach("taska", front=A, inner="10.231.3.40")
    b, c = await lab.attach("taskb", front=B), await lab.attach("taskc", inner="10.231.3.41")
    async with serving(b, "b"), serving(c, "c") as seen:
        assert await inside(a, ask, B) == "b"
        assert await inside(a, ask, "10.231.3.41") == "c"
        assert await inside(c, ask, B, 8080, 0.5) == "OSError"
    assert seen == ["10.231.3.40"]


async def test_a_vip_spreads_over_its_backends_by_tcp_and_udp(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    c = await lab.attach("taskc", front=C)
    await lab.network.route_services([entry("web", VIP, B, C)])
    async with serving(b, "b") as seen, serving(c, "c"):
        answers = Counter(await inside(a, ask_often, VIP, 200))
        assert set(answers) == {"b", "c"}
        assert 50 <= answers["b"] <= 150
        assert (await inside(a, ask_udp, VIP))[0] in ("b", "c")
        assert set(seen) == {A}
        assert await inside(a, ping, VIP)


async def test_a_task_reaches_itself_through_its_vip(lab: Lab) -> None:
    b = await lab.attach("taskb", front=B)
    await lab.network.route_services([entry("web", VIP, B)])
    async with serving(b, "b") as seen:
        assert await inside(b, ask, VIP) == "b"
        assert await inside(b, ask_udp, VIP) == ["b"]
    assert set(seen) == {"10.231.1.1"}


async def test_weights_decide_and_can_move(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    c = await lab.attach("taskc", front=C)
    both = (netlab.endpoint(B, "r1"), netlab.endpoint(C, "r2"))

    def weighted(new: int) -> TrafficEntry:
        return entry("web", VIP, endpoints=both, weights={"r1": 10000 - new, "r2": new})

    async with serving(b, "b"), serving(c, "c"):
        await lab.network.route_services([weighted(2000)])
        share = Counter(await inside(a, ask_often, VIP, 1000))["c"]
        assert 140 <= share <= 260  # 200 expected, standard deviation 12.6
        await lab.network.route_services([weighted(0)])
        assert Counter(await inside(a, ask_often, VIP, 50)) == {"b": 50}
        await lab.network.route_services([weighted(10000)])
        assert Counter(await inside(a, ask_often, VIP, 50)) == {"c": 50}


async def test_a_vip_without_backends_refuses_at_once(lab: Lab) -> None:
    a = await lab.attach("taska", front=A)
    await lab.network.route_services([entry("web", VIP)])
    assert await inside(a, ask, VIP) == "ConnectionRefusedError"
    assert await inside(a, ask_udp, VIP, 8080, 2.0, 2) == ["ConnectionRefusedError"] * 2


async def test_a_vip_of_another_network_is_out_of_reach(lab: Lab) -> None:
    a, b = await lab.attach("taska", back="10.231.2.40"), await lab.attach("taskb", front=B)
    await lab.network.route_services([entry("web", VIP, B)])
    async with serving(b, "b") as seen:
        assert await inside(a, ask, VIP, 8080, 0.5) == "TimeoutError"
    assert seen == []


async def test_udp_leaves_a_draining_backend_and_tcp_stays(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    c = await lab.attach("taskc", front=C)
    await lab.network.route_services([entry("web", VIP, B)])
    loop = asyncio.get_running_loop()
    server = await inside(b, netlab.open_server, "0.0.0.0", 9000, socket.SOCK_STREAM)
    server.setblocking(False)
    client = await inside(a, socket.create_connection, (VIP, 9000))
    client.setblocking(False)
    accepted, _ = await loop.sock_accept(server)
    datagrams = await inside(a, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setblocking(False)
    with server, client, accepted, datagrams:
        async with serving(b, "b"), serving(c, "c"):
            await loop.sock_connect(datagrams, (VIP, 8080))
            await loop.sock_sendall(datagrams, b"?")
            assert await loop.sock_recv(datagrams, 10) == b"b"
            moved = (netlab.endpoint(B, draining=True), netlab.endpoint(C, "r2"))
            await lab.network.route_services([entry("web", VIP, endpoints=moved, weights={})])
            await loop.sock_sendall(datagrams, b"?")
            assert await loop.sock_recv(datagrams, 10) == b"c"
            assert await inside(a, ask_often, VIP, 20) == ["c"] * 20
            await loop.sock_sendall(client, b"still there")
            assert await loop.sock_recv(accepted, 100) == b"still there"
            assert await lab.network.connections([B, A]) == {B: 1, A: 0}
    assert await lab.network.connections([B]) == {B: 0}


async def test_a_detached_task_leaves_no_tracked_connection(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    await lab.network.route_services([entry("web", VIP, B)])
    async with serving(b, "b"):
        assert await inside(a, ask, VIP) == "b"
        assert await inside(a, ask_udp, VIP) == ["b"]
    assert B in await run_in(lab.plane(), "conntrack", "-L")
    await lab.network.detach("taskb")
    assert B not in await run_in(lab.plane(), "conntrack", "-L")
    assert not (lab.folder / "node1" / "t-taskb").exists()


async def test_an_address_serves_the_next_task_at_once(lab: Lab) -> None:
    a, b = await lab.attach("taska", front=A), await lab.attach("taskb", front=B)
    async with serving(b, "b"):
        assert await inside(a, ask, B) == "b"
    await lab.network.detach("taskb")
    c = await lab.attach("taskc", front=B)
    async with serving(c, "c"):
        assert await inside(a, ask, B) == "c"


async def test_probes_go_to_the_tasks_own_address(lab: Lab) -> None:
    b = await lab.attach("taskb", front=B)
    async with (
        serving(b, "HTTP/1.1 204 No Content\r\n\r\n", 80) as seen,
        serving(b, "x", 81, "127.0.0.1"),
    ):
        assert await lab.network.connect("taskb", B, 80, 1.0) == ""
        assert await lab.network.http_get("taskb", B, 80, "/healthz", 1.0) == (204, "")
        lonely = await lab.network.connect("taskb", B, 81, 1.0)
        assert (
            lonely == f"nothing listens at {B}:81: its listener on that port is on 127.0.0.1 only"
        )
        status, why = await lab.network.http_get("taskb", B, 82, "/", 1.0)
        assert (status, why) == (0, f"nothing listens at {B}:82")
        assert (await lab.network.http_get("taskb", B, 80, "/a b", 1.0))[0] == 0
    assert set(seen) == {"10.231.1.1"}
