"""Pending tasks are placed, or say why not."""

from collections import Counter

import pytest

from stackd.core.model.container import ContainerSpec, Resources
from stackd.core.model.stack import Placement, ServiceSpec
from stackd.core.model.states import Availability, NodeState, TaskState
from stackd.core.model.strategy import Strategy
from stackd.core.schedule.assign import can_place
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web

GIB = 1 << 30


def reserving(memory: int, **fields: object) -> ServiceSpec:
    resources = Resources(reserve_memory=memory)
    return web(container=ContainerSpec(image="web", resources=resources), **fields)


def test_room_is_shared_out_and_the_rest_waits_with_a_reason() -> None:
    sim = Simulation(2)
    sim.set_node("n2", availability=Availability.PAUSE)
    sim.deploy("shop", {"web": (reserving(GIB, replicas=5), "a")})
    sim.advance(5)
    states = [v.status for v in sim.world.tasks_of("shop", "web")]
    assert sum(s.state is TaskState.RUNNING for s in states) == 4
    (waiting,) = [s for s in states if s.state is TaskState.PENDING]
    assert waiting.error == "no node has room: 1 paused; 1 without memory"
    sim.set_node("n2", availability=Availability.ACTIVE)
    sim.advance(5)
    assert sim.ready("shop", "web") == 5


def test_every_waiting_task_counts_each_node_once() -> None:
    sim = Simulation(2)
    sim.set_node("n2", availability=Availability.PAUSE)
    capped = web(replicas=4, placement=Placement(max_replicas_per_node=1))
    sim.deploy("shop", {"web": (capped, "a")})
    sim.advance(5)
    states = [v.status for v in sim.world.tasks_of("shop", "web")]
    waiting = [s.error for s in states if s.state is TaskState.PENDING]
    assert waiting == ["no node has room: 1 paused; 1 with 1 of its replicas already"] * 3


def test_a_task_is_not_placed_before_its_back_off_is_over() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(100)
    for _ in range(2):
        (live,) = [v for v in sim.world.tasks_of("shop", "web") if v.live]
        sim.agents.behaviours["web"] = _fails_now()
        sim.advance(1)
    (live,) = [v for v in sim.world.tasks_of("shop", "web") if v.live]
    assert live.task.not_before > sim.now
    assert live.status.state is TaskState.PENDING
    assert not live.task.node


@pytest.mark.parametrize("count", [3, 4, 6])
@pytest.mark.parametrize("preferred", [True, False])
def test_replacing_every_task_keeps_them_even(preferred: bool, count: int) -> None:
    """Each new one comes while old ones are there that go after it."""
    zones = {"n1": "a", "n2": "a", "n3": "b"}
    sim = Simulation(3)
    for name, zone in zones.items():
        sim.label(name, f"zone={zone}")
    placement = Placement(spread=("node.labels.zone",) if preferred else ())
    spec = web(replicas=count, placement=placement, strategy=Strategy(monitor=0))
    for revision in ("a", "b", "c"):
        sim.deploy("shop", {"web": (spec, revision)})
        sim.advance(60)
        views = [v for v in sim.world.tasks_of("shop", "web") if v.live]
        assert {v.task.revision for v in views} == {revision}
        found = Counter(zones[v.task.node] if preferred else v.task.node for v in views)
        assert max(found.values()) - min(found.values()) <= 1, (revision, found)
        assert len(found) == (2 if preferred else 3)


def _fails_now() -> Behaviour:
    return Behaviour(fail_after=0.5)


def test_can_place_counts_without_changing_anything() -> None:
    sim = Simulation(3)
    sim.deploy("shop", {"web": (reserving(GIB, replicas=4), "a")})
    sim.advance(20)
    before = sim.world.revision
    found = can_place(sim.world, "shop", reserving(GIB), 20)
    assert found.placed == 8
    assert found.reason == "no node has room: 3 without memory"
    assert can_place(sim.world, "shop", reserving(GIB), 8).placed == 8
    capped = reserving(GIB, placement=Placement(max_replicas_per_node=1))
    assert can_place(sim.world, "blog", capped, 5).placed == 3
    assert sim.world.revision == before
    for name in ("n1", "n2", "n3"):
        sim.set_node(name, NodeState.DOWN)
    assert can_place(sim.world, "shop", web(), 1).reason == "no node has room: 3 down"
