"""What the ingress promises, against a real Envoy."""

import asyncio
import os
import socket
from collections import Counter

import pytest
from aiohttp import ClientSession

from stackd.core.model.traffic import Endpoint
from stackd.host import envoy_instance, listening
from tests.host import ingress
from tests.host.ingress import Lab, Load, entry, http, tcp

pytestmark = pytest.mark.host


async def two_revisions(lab: Lab) -> list[Endpoint]:
    await lab.upstream("a", 8001)
    await lab.upstream("b", 8001)
    return [lab.endpoint("a", "r1"), lab.endpoint("b", "r2")]


async def test_a_port_opens_and_answers_and_closes() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        port = http(lab.port, 8001)
        applied = await lab.proxy.apply([entry("web", [lab.endpoint("a")], port)])
        assert applied.problems == {}
        assert await ingress.status(lab.port) == (200, "a 0")
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], port, listening=False)])
        assert (await ingress.status(lab.port))[0] == 0


async def test_weights_share_requests_out() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        port = http(lab.port, 8001)
        await lab.proxy.apply([entry("web", both, port, weights={"r1": 9000, "r2": 1000})])
        seen: Counter[str] = Counter()
        async with ClientSession() as session:
            for _ in range(1000):
                async with session.get(f"http://127.0.0.1:{lab.port}/") as response:
                    seen[(await response.text()).split()[0]] += 1
        assert 50 <= seen["b"] <= 160
        await lab.proxy.apply([entry("web", both, port, weights={"r1": 0, "r2": 10000})])
        before = lab.upstreams["a"].seen
        for _ in range(20):
            assert await ingress.status(lab.port) == (200, "b 0")
        assert lab.upstreams["a"].seen == before


async def test_a_second_change_of_health_within_a_second_is_applied_when_it_is_said() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        port = http(lab.port, 8001)
        for draining in ("a", "b", "a", "b"):
            marked = [lab.endpoint(name, "r1", ready=name != draining) for name in ("a", "b")]
            await lab.proxy.apply([entry("web", marked, port)])
            other = {"a": "b", "b": "a"}[draining]
            for _ in range(10):
                assert await ingress.status(lab.port) == (200, f"{other} 0")
        assert len(both) == 2


async def test_services_share_a_port_by_host_and_longest_prefix() -> None:
    async with ingress.lab() as lab:
        for name in ("root", "api", "deep", "shop"):
            await lab.upstream(name, 8001)
        port = http(lab.port, 8001)
        table = [
            entry("root", [lab.endpoint("root")], port),
            entry("api", [lab.endpoint("api")], port, route=ingress.route(path_prefix="/api")),
            entry("deep", [lab.endpoint("deep")], port, route=ingress.route(path_prefix="/api/v2")),
            entry("shop", [lab.endpoint("shop")], port, route=ingress.route(hosts=("shop.test",))),
        ]
        assert (await lab.proxy.apply(table)).problems == {}
        asked = [("/", ""), ("/api", ""), ("/api/x", ""), ("/apix", ""), ("/api/v2/y", "")]
        answers = [(await ingress.status(lab.port, path, host))[1] for path, host in asked]
        assert answers == ["root 0", "api 0", "api 0", "root 0", "deep 0"]
        assert (await ingress.status(lab.port, "/api", f"shop.test:{lab.port}"))[1] == "shop 0"
        await lab.proxy.apply(table[1:])
        assert (await ingress.status(lab.port, "/"))[0] == 404
        assert (await ingress.status(lab.port, "/api"))[0] == 200


async def test_what_a_client_says_of_earlier_hops_is_dropped() -> None:
    """Also what it says to Envoy itself, which believes clients with private addresses."""
    names = (
        *("X-Forwarded-For", "X_Forwarded-For", "X-Forwarded_For", "Forwarded", "X-Real-IP"),
        *("x_real_ip", "X-Client-IP", "X-Forwarded-Host", "X_Forwarded_Host", "X-Forwarded-Port"),
        *("X-Forwarded-Proto", "X_FORWARDED_PROTO", "X-Forwarded-Prefix", "X-Forwarded", "Proxy"),
        *("X-Envoy-External-Address", "X-Envoy-Original-Path", "X-Forwarded-Client-Cert"),
    )
    async with ingress.lab() as lab:
        up = await lab.upstream("a", 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], http(lab.port, 8001))])
        kept = {"Authorization": "x", "X-Real-Estate": "x", "X-Forward": "x", "X-Proxy-Id": "x"}
        steering = {"X-Envoy-Retry-On": "5xx", "X-Envoy-Max-Retries": "3"}
        claims = dict.fromkeys(names, "1.2.3.4, 5.6.7.8") | steering
        answer = await ingress.status(lab.port, "/fail", **claims, **kept)
        assert answer == (500, "as asked")
        assert up.seen == 1
        seen = {key.lower(): value for key, value in up.headers[-1].items()}
        assert [key for key, value in seen.items() if "1.2.3.4" in value] == []
        assert len(seen["x-forwarded-for"].split(",")) == 1
        assert seen["x-forwarded-proto"] == "http"
        assert {key.lower() for key in kept} <= set(seen)


async def test_a_websocket_is_carried_and_counted() -> None:
    async with ingress.lab() as lab:
        await two_revisions(lab)
        port = http(lab.port, 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], port)])
        async with ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{lab.port}/ws") as ws:
                await ws.send_str("one")
                assert await ws.receive_str() == "a one"
                moved = [entry("web", [lab.endpoint("a", ready=False), lab.endpoint("b")], port)]
                await lab.proxy.apply(moved)
                assert await lab.proxy.in_flight(moved) == {"a": 1}
                await ws.send_str("two")
                assert await ws.receive_str() == "a two"
        await lab.drained(moved, "a")


async def test_tcp_connections_are_carried_and_counted() -> None:
    async with ingress.lab() as lab:
        await two_revisions(lab)
        port = tcp(lab.port, 8001)
        await lab.proxy.apply([entry("db", [lab.endpoint("a")], port)])
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        moved = [entry("db", [lab.endpoint("a", ready=False), lab.endpoint("b")], port)]
        await lab.proxy.apply(moved)
        assert await lab.proxy.in_flight(moved) == {"a": 1}
        assert await ingress.status(lab.port) == (200, "b 0")
        writer.close()
        await writer.wait_closed()
        await lab.drained(moved, "a")


async def test_a_taken_port_is_named_the_rest_is_applied_and_it_is_tried_again() -> None:
    async with ingress.lab() as lab:
        await two_revisions(lab)
        table = [
            entry("free", [lab.endpoint("a")], http(lab.port, 8001)),
            entry("held", [lab.endpoint("b")], http(lab.other_port, 8001)),
        ]
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", lab.other_port))
            holder.listen()
            problems = (await lab.proxy.apply(table)).problems
            assert list(problems) == ["shop/held"]
            assert f"(pid {os.getpid()})" in problems["shop/held"]
            assert await ingress.status(lab.port) == (200, "a 0")
        assert (await lab.proxy.apply(table)).problems == {}
        assert await ingress.status(lab.other_port) == (200, "b 0")


async def test_a_killed_envoy_comes_back_with_what_was_applied() -> None:
    async with ingress.lab() as lab:
        await two_revisions(lab)
        table = [entry("web", [lab.endpoint("a")], http(lab.port, 8001))]
        await lab.proxy.apply(table)
        first = envoy_instance.running(lab.layout.run)[-1]
        await asyncio.sleep(0.2)
        await ingress.killed(first.pid)
        async with asyncio.timeout(10):
            while (await ingress.status(lab.port))[0] != 200:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.01)
        second = envoy_instance.running(lab.layout.run)[-1]
        assert second.pid != first.pid
        moved = [entry("web", [lab.endpoint("b")], http(lab.port, 8001))]
        await lab.proxy.apply(moved)
        assert await ingress.status(lab.port) == (200, "b 0")


async def test_a_new_agent_takes_over_without_a_gap() -> None:
    async with ingress.lab() as lab:
        both = await two_revisions(lab)
        port = http(lab.port, 8001)
        table = [entry("web", both, port)]
        await lab.proxy.apply(table)
        before = envoy_instance.running(lab.layout.run)[-1].pid
        async with Load(lab.port, 200) as load:
            await asyncio.sleep(0.3)
            await lab.agent_restarts()
            await asyncio.sleep(0.7)
            assert (await lab.proxy.apply(table)).problems == {}
            moved = [entry("web", [lab.endpoint("a", ready=False), both[1]], port)]
            await lab.proxy.apply(moved)
            await lab.drained(moved, "a")
        assert load.lost == {}
        assert envoy_instance.running(lab.layout.run)[-1].pid == before


async def test_a_planned_restart_loses_nothing() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], http(lab.port, 8001))])
        first = envoy_instance.running(lab.layout.run)[-1]
        async with Load(lab.port, 200) as load:
            await asyncio.sleep(0.3)
            await lab.process.renew()
            async with asyncio.timeout(60):
                while first.alive:  # noqa: ASYNC110 another process
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
        assert load.lost == {}
        assert [i.number for i in envoy_instance.running(lab.layout.run)] == [first.number + 1]


async def test_a_planned_restart_lets_new_clients_in_while_an_old_one_stays() -> None:
    """An idle connection holds the old Envoy up; nobody new may be sent to it meanwhile."""
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], http(lab.port, 8001))])
        first = envoy_instance.running(lab.layout.run)[-1]
        _, idle = await asyncio.open_connection("127.0.0.1", lab.port)
        await lab.process.renew()
        async with asyncio.timeout(60):
            while listening.listens(first.pid, [lab.port]):  # noqa: ASYNC110 another process
                await asyncio.sleep(0.05)
        found = {await ingress.status(lab.port) for _ in range(40)}
        assert {code for code, _ in found} == {200}
        assert first.alive
        idle.close()
        async with asyncio.timeout(60):
            while first.alive:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.05)


async def test_a_killed_keeper_is_replaced_and_the_new_one_adopts_envoy() -> None:
    async with ingress.lab() as lab:
        await lab.upstream("a", 8001)
        await lab.proxy.apply([entry("web", [lab.endpoint("a")], http(lab.port, 8001))])
        first = envoy_instance.running(lab.layout.run)[-1]
        keeper = lab.layout.run / "envoy-keeper.pid"
        await ingress.killed(int(keeper.read_text()))
        first.path("pid").unlink()  # as when it was killed between start and note
        assert await ingress.status(lab.port) == (200, "a 0")
        async with asyncio.timeout(10):
            while not lab.process.running():  # noqa: ASYNC110 another process
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        assert [i.pid for i in envoy_instance.running(lab.layout.run)] == [first.pid]
        assert first.path("pid").read_text() == str(first.pid)
        await ingress.killed(first.pid)
        async with asyncio.timeout(10):
            while (await ingress.status(lab.port))[0] != 200:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.02)
