"""Who is heard and who is down, in virtual time: to the second, and only for who is silent."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stackd.aio.clock import ManualClock, settle
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.record import Changes, Put
from stackd.core.model.states import NodeState
from stackd.manager.loop import Context
from stackd.manager.registrations import Registrations
from stackd.store.tables import Tables
from stackd.wire.messages import Hello
from tests.fakes.harness import counted_ids
from tests.fakes.store import FakeStore

HEARTBEAT = 5.0
NODES = ("n1", "n2")


class StallingClock(ManualClock):
    """A clock whose process can stand still: time passes and nobody is woken."""

    def stall(self, seconds: float) -> None:
        self._now += seconds


class Watch:
    """Registrations that watch, on a store in memory."""

    def __init__(self) -> None:
        self.clock = StallingClock()
        self.tables = Tables(FakeStore(self.clock), self.clock)
        self.context = Context(self.tables, self.clock, counted_ids())
        self.lost: list[str] = []
        self.registrations = self.fresh()

    def fresh(self) -> Registrations:
        self.registrations = Registrations(self.context, HEARTBEAT, self.lost.append)
        return self.registrations

    async def member(self, node: str) -> None:
        record = Node(id=NodeId(node), name=node)
        await self.tables.commit(Changes(changes=(Put(record=record),)))

    async def register(self, node: str) -> int:
        return await self.registrations.register(Hello(node))

    async def beat(self, seconds: float, *nodes: str) -> None:
        """Let time pass while `nodes` beat every second."""
        for _ in range(int(seconds)):
            await self.clock.advance(1.0)
            for node in nodes:
                self.registrations.heard(node)
        await settle(60)

    def state(self, node: str) -> NodeState:
        found = self.tables.world.get(NodeStatus, node)
        return found.state if found else NodeState.UNKNOWN

    def epoch(self, node: str) -> int:
        found = self.tables.world.get(NodeStatus, node)
        return found.epoch if found else 0


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    made = Watch()
    await made.tables.open()
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(made.tables.run())
        for node in NODES:
            await made.member(node)
            await made.register(node)
        watching = group.create_task(made.registrations.watch())
        await settle(60)
        yield made
        watching.cancel()
        feeding.cancel()


async def test_down_after_three_missed_beats_and_not_before(watch: Watch) -> None:
    await watch.beat(15, "n2")
    assert watch.state("n1") is NodeState.READY
    await watch.beat(1, "n2")
    assert watch.state("n1") is NodeState.DOWN
    assert watch.state("n2") is NodeState.READY
    assert watch.lost == ["n1"]


async def test_a_beat_starts_the_count_anew(watch: Watch) -> None:
    await watch.beat(15, "n2")
    watch.registrations.heard("n1")
    await watch.beat(15, "n2")
    assert watch.state("n1") is NodeState.READY
    await watch.beat(1, "n2")
    assert watch.state("n1") is NodeState.DOWN


async def test_a_manager_that_stood_still_declares_nobody_down(watch: Watch) -> None:
    await watch.beat(5, *NODES)
    watch.clock.stall(60.0)
    await watch.beat(3)
    assert [watch.state(node) for node in NODES] == [NodeState.READY, NodeState.READY]
    await watch.beat(20, "n1")
    assert [watch.state(node) for node in NODES] == [NodeState.READY, NodeState.DOWN]


async def test_one_who_comes_back_has_a_greater_epoch(watch: Watch) -> None:
    before = watch.epoch("n1")
    await watch.beat(16, "n2")
    assert watch.state("n1") is NodeState.DOWN
    assert await watch.register("n1") == before + 1
    assert watch.state("n1") is NodeState.READY
    await watch.beat(15, "n2")
    assert watch.state("n1") is NodeState.READY


async def test_an_epoch_that_an_agent_brings_is_outgrown(watch: Watch) -> None:
    assert await watch.registrations.register(Hello("n1", epoch=41)) == 42


async def test_reports_go_with_the_node_and_are_asked_for_anew(watch: Watch) -> None:
    world = watch.tables.world
    watch.tables.remember(NodeReport(id=NodeId("n1"), applied=9))
    watch.tables.remember(NodeReport(id=NodeId("n2"), applied=9))
    await watch.beat(16, "n2")
    assert [report.id for report in world.all(NodeReport)] == ["n2"]
    await watch.register("n2")
    assert not list(world.all(NodeReport))


async def test_a_new_leader_gives_everybody_time_and_nobody_life(watch: Watch) -> None:
    await watch.beat(16, "n2")
    assert watch.state("n1") is NodeState.DOWN
    watch.clock.stall(100.0)
    fresh = Registrations(watch.context, HEARTBEAT, watch.lost.append)
    assert fresh.silent("n2") == 0
    assert fresh.silent("n1") == float("inf")
    assert watch.state("n1") is NodeState.DOWN
