"""The ADS server and its clients over a unix socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.stack import AppProtocol
from stackd.core.model.traffic import Endpoint, EndpointState, IngressPort, TrafficEntry
from stackd.errors import Unavailable
from stackd.xds.proxy import EnvoyProxy
from stackd.xds.render.table import Renderer
from stackd.xds.server import AdsServer
from stackd.xds.snapshot import Kind, Snapshot, phases, with_barrier
from tests.fakes.xds import FakeEnvoy

R1, R2 = "shop/web/80/http/r1", "shop/web/80/http/r2"


def snapshot(version: str, *revisions: str, listening: bool = True, port: int = 8080) -> Snapshot:
    """A service with one endpoint of each revision."""
    endpoints = tuple(
        Endpoint(
            task=TaskId(r),
            revision=RevisionId(r),
            node=NodeId("n"),
            state=EndpointState.READY,
            addresses={"net": f"10.0.0.{i + 1}"},
        )
        for i, r in enumerate(revisions)
    )
    entry = TrafficEntry(
        stack="shop",
        service="web",
        endpoints=endpoints,
        listening=listening,
        ports=(IngressPort(published=port, target=80, protocol=AppProtocol.HTTP),),
        ingress_network="net",
    )
    return with_barrier(Renderer().render([entry], (), {}).snapshot, version)


@contextlib.asynccontextmanager
async def served(folder: Path, first: Snapshot, envoy: FakeEnvoy) -> AsyncIterator[AdsServer]:
    server = AdsServer(folder / "x.sock")
    server.prime(first)
    await server.open()
    task = asyncio.ensure_future(envoy.run())
    try:
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        await server.close()


async def test_an_envoy_gets_everything_and_acks_are_waited_for(tmp_path: Path) -> None:
    envoy, first = FakeEnvoy(tmp_path / "x.sock"), snapshot("1", "r1")
    async with served(tmp_path, first, envoy) as server:
        await server.push(first, 5)
    assert [list(envoy.held[kind]) for kind in (Kind.CLUSTER, Kind.ENDPOINTS)] == [[R1], [R1]]
    assert list(envoy.held[Kind.LISTENER]) == ["port-8080"]
    assert set(envoy.held[Kind.ROUTES]) == {"port-8080", "stackd-barrier", "stackd-shadow"}


async def test_a_change_is_made_before_the_old_is_broken(tmp_path: Path) -> None:
    envoy, old, new = FakeEnvoy(tmp_path / "x.sock"), snapshot("1", "r1"), snapshot("2", "r2")
    async with served(tmp_path, old, envoy) as server:
        await server.push(old, 5)
        envoy.log.clear()
        for phase in phases(old, new):
            await server.push(phase, 5)
    order = [(kind.name, tuple(names), tuple(gone)) for kind, names, gone in envoy.log]
    assert order.index(("CLUSTER", (R2,), ())) < order.index(("ENDPOINTS", (R2,), ()))
    assert order.index(("ENDPOINTS", (R2,), ())) < order.index(("ROUTES", ("port-8080",), ()))
    assert order.index(("ROUTES", ("port-8080",), ())) < order.index(("CLUSTER", (), (R1,)))
    assert "stackd-barrier" in order[-1][1]
    assert set(envoy.held[Kind.CLUSTER]) == {R2}


async def test_a_returning_envoy_gets_the_difference_and_loses_what_is_gone(tmp_path: Path) -> None:
    old, new = snapshot("1", "r1"), snapshot("1", "r2")
    had = {kind: {n: r.version for n, r in old.of(kind).items()} for kind in Kind}
    envoy = FakeEnvoy(tmp_path / "x.sock", had)
    async with served(tmp_path, new, envoy) as server:
        await server.push(new, 5)
    assert set(envoy.held[Kind.CLUSTER]) == {R2}
    sent = [name for _, names, _ in envoy.log for name in names]
    assert "stackd-barrier" not in sent
    assert R2 in sent


async def test_a_changed_cluster_gets_its_endpoints_again(tmp_path: Path) -> None:
    envoy, old = FakeEnvoy(tmp_path / "x.sock"), snapshot("1", "r1")
    other = replace(old.clusters[R1], version="other")
    async with served(tmp_path, old, envoy) as server:
        await server.push(old, 5)
        envoy.log.clear()
        new = Snapshot({R1: other}, old.endpoints, old.listeners, old.routes)
        await server.push(new, 5)
    assert [(k, n) for k, n, _ in envoy.log] == [(Kind.CLUSTER, [R1]), (Kind.ENDPOINTS, [R1])]


async def test_a_refused_listener_is_an_answer_and_the_others_stand(tmp_path: Path) -> None:
    envoy, first = FakeEnvoy(tmp_path / "x.sock"), snapshot("1", "r1")
    envoy.refuse = lambda kind, _: (
        "Error adding/updating listener(s) port-8080: cannot bind" if kind is Kind.LISTENER else ""
    )
    async with served(tmp_path, first, envoy) as server:
        await server.push(first, 5)
        refused = [session.refusals(Kind.LISTENER) for session in server.sessions]
    assert [list(r) for r in refused] == [["port-8080"]]
    assert "cannot bind" in refused[0]["port-8080"]


async def test_without_an_answer_a_push_fails(tmp_path: Path) -> None:
    envoy, first = FakeEnvoy(tmp_path / "x.sock"), snapshot("1", "r1")
    envoy.silent = True
    async with served(tmp_path, first, envoy) as server:
        with pytest.raises(Unavailable, match="has not taken"):
            await server.push(first, 0.2)


class Absent:
    """A proxy process that never comes."""

    async def ensure(self) -> None: ...

    def running(self) -> bool:
        return True

    async def stop(self) -> None: ...

    async def quiesce(self, ports: Collection[int]) -> None: ...

    async def port_problem(self, port: int) -> str:
        return ""


async def test_without_an_envoy_nothing_is_applied_nor_counted(tmp_path: Path) -> None:
    proxy = EnvoyProxy(
        tmp_path / "x.sock", Absent(), lambda request: None, lambda key: None, timeout=0.2
    )
    entry = TrafficEntry(stack="shop", service="web")
    with pytest.raises(Unavailable, match="not connected"):
        await proxy.apply([entry])
    with pytest.raises(Unavailable):
        await proxy.in_flight([entry])
    await proxy.close(stop=True)
