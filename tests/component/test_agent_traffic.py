"""What a node says of its traffic, and when."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from stackd.agent.traffic import Carriers, TrafficApplier
from stackd.aio.clock import ManualClock, settle
from stackd.core.model.assignment import TrafficItem
from stackd.core.model.driver import ProxyApplied
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.node import NodeReport
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.errors import Unavailable
from tests.fakes.host import FakeNetwork


class FakeProxy:
    """Remembers the tables; fails or has problems as told."""

    def __init__(self) -> None:
        self.tables: list[tuple[str, ...]] = []
        self.problems: dict[str, str] = {}
        self.broken = False
        self.active: dict[str, int] = {}
        self.doubt = asyncio.Event()

    async def doubtful(self) -> None:
        await self.doubt.wait()
        self.doubt.clear()

    async def apply(self, entries: Sequence[TrafficEntry]) -> ProxyApplied:
        if self.broken:
            raise Unavailable("no proxy")
        self.tables.append(tuple(e.key for e in entries))
        return ProxyApplied(problems=dict(self.problems))

    async def in_flight(self, entries: Sequence[TrafficEntry]) -> Mapping[str, int]:
        return dict(self.active)

    async def close(self, *, stop: bool) -> None:
        return None


class CountingNetwork(FakeNetwork):
    """Tracks connections to addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tracked: dict[str, int] = {}

    async def connections(self, addresses: Sequence[str]) -> Mapping[str, int]:
        return {address: self.tracked.get(address, 0) for address in addresses}


class Node:
    """An applier with fakes around it."""

    def __init__(self, path: Path) -> None:
        self.proxy, self.network, self.clock = FakeProxy(), CountingNetwork(), ManualClock()
        self.reports: list[NodeReport] = []
        carriers = Carriers(self.network, self.proxy, lambda entries: None)
        self.applier = TrafficApplier(carriers, path, self.reports.append, self.clock)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        task = asyncio.ensure_future(self.applier.run())
        await settle()
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def wanted(self, revision: int, *entries: TrafficEntry) -> None:
        self.applier.wanted([TrafficItem(entry=e, revision=revision) for e in entries], revision)
        await settle(60)

    @property
    def last(self) -> NodeReport:
        return self.reports[-1]


def service(name: str, *, draining: bool = False) -> TrafficEntry:
    state = EndpointState.DRAINING if draining else EndpointState.READY
    endpoint = Endpoint(
        task=TaskId(f"{name}1"),
        revision=RevisionId("r1"),
        node=NodeId("n"),
        state=state,
        addresses={"net": "10.0.0.1"},
    )
    return TrafficEntry(stack="s", service=name, endpoints=(endpoint,))


async def test_what_is_applied_and_counted_is_said(tmp_path: Path) -> None:
    async with Node(tmp_path / "t").running() as node:
        await node.wanted(7, service("a"))
    assert (node.last.applied, node.last.counted) == (7, 7)
    assert node.proxy.tables == [("s/a",)]


async def test_a_revision_that_changes_nothing_here_is_only_said(tmp_path: Path) -> None:
    async with Node(tmp_path / "t").running() as node:
        await node.wanted(7, service("a"))
        await node.wanted(9, service("a"))
    assert (node.last.applied, node.last.counted) == (9, 9)
    assert len(node.proxy.tables) == 1


async def test_draining_is_counted_until_it_is_over(tmp_path: Path) -> None:
    node = Node(tmp_path / "t")
    node.proxy.active = {"a1": 2}
    node.network.tracked = {"10.0.0.1": 3}
    async with node.running():
        await node.wanted(7, service("a", draining=True))
        assert node.last.in_flight == {"a1": 5}
        node.proxy.active, node.network.tracked = {"a1": 0}, {}
        await node.clock.advance(0.3)
        assert node.last.in_flight == {"a1": 0}
        await node.wanted(8, service("a"))
        assert (node.last.in_flight, node.last.counted) == ({}, 8)


async def test_what_cannot_be_applied_is_not_said_and_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path / "t")
    node.proxy.broken = True
    async with node.running():
        await node.wanted(7, service("a"))
        assert node.reports == []
        node.proxy.broken = False
        await node.clock.advance(1)
        assert node.last.applied == 7


async def test_a_taken_port_is_said_and_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path / "t")
    node.proxy.problems = {"s/a": "Port 80 is held by x."}
    async with node.running():
        await node.wanted(7, service("a"))
        assert (node.last.applied, node.last.problems) == (7, node.proxy.problems)
        node.proxy.problems = {}
        await node.clock.advance(2)
        assert node.last.problems == {}


async def test_the_applied_table_is_served_first_at_the_next_start(tmp_path: Path) -> None:
    async with Node(tmp_path / "t").running() as first:
        await first.wanted(7, service("a"))
    second = Node(tmp_path / "t")
    second.applier.wanted([TrafficItem(entry=service("b"), revision=8)], 8)
    async with second.running():
        await settle(60)
    assert second.proxy.tables == [("s/a",), ("s/b",)]
    assert next(r.applied for r in second.reports if r.applied) == 7
    assert second.last.applied == 8


async def test_knowing_nothing_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"not a table")
    async with Node(tmp_path / "t").running() as node:
        await node.wanted(0)
    assert node.proxy.tables == []
    assert node.reports == []


async def test_what_the_ingress_no_longer_shows_is_applied_again(tmp_path: Path) -> None:
    async with Node(tmp_path / "t").running() as node:
        await node.wanted(7, service("a"))
        node.proxy.problems = {"s/a": "somebody has the port"}
        node.proxy.doubt.set()
        await settle(60)
        assert node.last.problems == {"s/a": "somebody has the port"}
        node.proxy.problems = {}
        await node.clock.advance(1.5)
        assert node.last.problems == {}
