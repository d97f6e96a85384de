"""What Envoy's access log tells of requests, and its counters beside it."""

import asyncio
import contextlib

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout
from msgspec.structs import replace

from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Request
from stackd.core.model.traffic import Steering, TrafficEntry
from stackd.core.model.variants import UserGoal
from tests.host import ingress
from tests.host.ingress import Lab, entry, http, tcp

pytestmark = pytest.mark.host

R2 = RevisionId("r2")


async def logged(lab: Lab, number: int) -> list[Request]:
    """The requests told so far, once there are so many."""
    async with asyncio.timeout(10):
        while len(lab.requests) < number:  # noqa: ASYNC110 another process
            await asyncio.sleep(0.05)
    return lab.requests


async def table(lab: Lab, **fields: object) -> list[TrafficEntry]:
    await lab.upstream("a", 8001)
    await lab.upstream("b", 8001)
    both = [lab.endpoint("a", "r1"), lab.endpoint("b", "r2")]
    return [entry("web", both, http(lab.port, 8001), measured=True, **fields)]


async def test_each_request_tells_its_revision_task_time_and_whether_it_failed() -> None:
    async with ingress.lab() as lab:
        await lab.proxy.apply(await table(lab, weights={"r1": 10000, "r2": 0}))
        for path in ("/", "/", "/fail", "/slow"):
            await ingress.status(lab.port, path)
        found = await logged(lab, 4)
        assert [(r.stack, r.service, r.revision, r.instance) for r in found] == [
            ("shop", "web", "r1", "a")
        ] * 4
        assert [r.failed for r in found] == [False, False, True, False]
        assert [r.seconds > 1.9 for r in found] == [False, False, False, True]
        assert found[0].began < found[3].began < found[0].began + 60


async def test_each_request_of_a_variant_is_counted_and_tells_whether_it_reached_the_goal() -> None:
    async with ingress.lab() as lab:
        both = await table(lab, weights={"r1": 10000, "r2": 0})
        goal = UserGoal(path="/", method="GET")
        await lab.proxy.apply([replace(e, measured=False, counted=True, goal=goal) for e in both])
        for path in ("/", "/?from=mail", "/other", "/fail"):
            await ingress.status(lab.port, path)
        found = await logged(lab, 4)
        assert [(r.revision, r.counted, r.judged) for r in found] == [("r1", True, False)] * 4
        assert [r.reached for r in found] == [True, True, False, False]
        assert {r.goal for r in found} == {"GET / 2xx"}


async def test_timeouts_and_resets_are_failures_clients_that_leave_are_not_counted() -> None:
    async with ingress.lab() as lab:
        route = ingress.route(timeout=0.3)
        await lab.proxy.apply(await table(lab, weights={"r1": 10000, "r2": 0}, route=route))
        assert (await ingress.status(lab.port, "/slow"))[0] == 504
        with contextlib.suppress(ClientError, TimeoutError):
            async with ClientSession(timeout=ClientTimeout(total=0.1)) as session:
                await session.get(f"http://127.0.0.1:{lab.port}/slow")
        await lab.upstreams["a"].kill()
        assert (await ingress.status(lab.port))[0] == 503
        found = await logged(lab, 2)
        assert [r.failed for r in found] == [True, True]
        assert found[0].instance == "a"


async def test_mirrored_requests_are_told_apart_and_counters_agree() -> None:
    async with ingress.lab() as lab:
        steering = Steering(mirror=10000, mirrored=R2)
        await lab.proxy.apply(await table(lab, weights={"r1": 10000}, steering=steering))
        assert await lab.proxy.counts() == []
        for _ in range(20):
            await ingress.status(lab.port)
        await ingress.status(lab.port, "/fail")
        found = await logged(lab, 42)
        assert {(r.revision, r.instance, r.shadow) for r in found} == {
            ("r1", "a", False),
            ("r2", "b", True),
        }
        assert sum(r.failed for r in found if r.shadow) == 1
        counts = {c.revision: (c.requests, c.errors, c.mirrored) for c in await lab.proxy.counts()}
        assert counts == {"r1": (21, 1, 0), "r2": (21, 1, 21)}


async def test_what_is_shared_out_is_counted_though_nothing_is_told_of_each_request() -> None:
    async with ingress.lab() as lab:
        both = await table(lab, weights={"r1": 5000, "r2": 5000})
        await lab.proxy.apply([replace(one, measured=False) for one in both])
        assert await lab.proxy.counts() == []
        for _ in range(40):
            await ingress.status(lab.port)
        counts = {c.revision: c.requests for c in await lab.proxy.counts()}
        assert counts.keys() == {"r1", "r2"}
        assert sum(counts.values()) == 40
        assert lab.requests == []


async def test_connections_to_a_tcp_port_are_counted_for_each_revision() -> None:
    async with ingress.lab() as lab:
        for name in ("a", "b"):
            await lab.upstream(name, 8001)
        port = tcp(lab.port, 8001)
        first = entry("db", [lab.endpoint("a", "r1")], port, weights={"r1": 10000})
        await lab.proxy.apply([first])
        await ingress.status(lab.port)
        both = [lab.endpoint("a", "r1"), lab.endpoint("b", "r2")]
        await lab.proxy.apply([entry("db", both, port, weights={"r1": 5000, "r2": 5000})])
        assert await lab.proxy.counts() == []
        for _ in range(20):
            await ingress.status(lab.port)
        counts = {c.revision: (c.requests, c.connections) for c in await lab.proxy.counts()}
        assert counts == {"r1": (0, 10), "r2": (0, 10)}
        assert await lab.proxy.counts() == []


async def test_open_streams_are_not_missed_in_the_log() -> None:
    async with ingress.lab() as lab:
        await lab.proxy.apply(await table(lab, weights={"r1": 10000}))
        assert await lab.proxy.counts() == []
        async with ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{lab.port}/ws") as socket:
                await socket.send_str("x")
                await socket.receive_str()
                slow = asyncio.ensure_future(ingress.status(lab.port, "/slow"))
                for _ in range(10):
                    await ingress.status(lab.port)
                await logged(lab, 10)
                open_ = [c.requests for c in await lab.proxy.counts()]
            await slow
        await logged(lab, 11)
        over = [c.requests for c in await lab.proxy.counts()]
        assert sum(open_) <= 10
        assert sum([*open_, *over]) == 11 == len(lab.requests)


async def test_measuring_changes_no_listener_and_what_is_not_measured_is_not_told() -> None:
    async with ingress.lab() as lab:
        (measured,) = await table(lab)
        quiet = [entry("web", list(measured.endpoints), http(lab.port, 8001))]
        await lab.proxy.apply(quiet)
        before = dict(lab.proxy.snapshot.listeners)
        for _ in range(5):
            await ingress.status(lab.port)
        await lab.proxy.apply([measured])
        assert dict(lab.proxy.snapshot.listeners) == before
        for _ in range(3):
            await ingress.status(lab.port)
        await logged(lab, 3)
        await asyncio.sleep(1.2)
        assert len(lab.requests) == 3


async def test_a_new_agent_is_told_again() -> None:
    async with ingress.lab() as lab:
        entries = await table(lab)
        await lab.proxy.apply(entries)
        await ingress.status(lab.port)
        await logged(lab, 1)
        await lab.agent_restarts()
        await lab.proxy.apply(entries)
        async with asyncio.timeout(20):
            while len(lab.requests) < 2:
                await ingress.status(lab.port)
                await asyncio.sleep(0.2)
