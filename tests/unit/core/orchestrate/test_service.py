"""Counts become task records."""

import msgspec

from stackd.core.model.ids import service_key
from stackd.core.model.record import Put
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import Port
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.orchestrate import service
from tests.fakes.simulation import Simulation, web


def decided(sim: Simulation) -> list[object]:
    found = service.decide(sim.world, "shop", "web", sim.now, sim.ids.__next__)
    return [c.record for g in found.commits for c in g.changes if isinstance(c, Put)]


def test_a_new_task_is_three_records_and_an_event() -> None:
    sim = Simulation(1)
    spec = web(ports=(Port(target=8080), Port(target=8080, published=81)))
    sim.deploy("shop", {"web": (spec, "a")})
    sim.write(ServiceState(stack="shop", service="web", counts={"a": 1}))
    task, desired, status, event = decided(sim)
    assert isinstance(task, Task)
    assert (task.slot, task.revision, task.ready_ports, task.monitor) == ("1", "a", (8080,), 5.0)
    assert isinstance(desired, TaskDesired)
    assert isinstance(status, TaskStatus)
    assert status.state is TaskState.NEW
    assert task.cause == event.id  # type: ignore[attr-defined]


def test_every_commit_relies_on_the_counts_it_makes_true() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(replicas=100), "a")})
    sim.write(ServiceState(stack="shop", service="web", counts={"a": 100}))
    found = service.decide(sim.world, "shop", "web", sim.now, sim.ids.__next__)
    assert len(found.commits) > 1
    for commit in found.commits:
        assert [r.key for r in commit.relies] == [service_key("shop", "web")]
        assert len(commit.changes) + len(commit.relies) <= 90


def test_a_task_that_no_agent_knows_ends_at_once() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.write(ServiceState(stack="shop", service="web", counts={"a": 1}))
    sim.write(*decided(sim))  # type: ignore[arg-type]
    sim.write(ServiceState(stack="shop", service="web", counts={}))
    desired, status = decided(sim)
    assert isinstance(desired, TaskDesired)
    assert isinstance(status, TaskStatus)
    assert (desired.stop, desired.state) == (True, TaskState.RUNNING)
    assert status.state is TaskState.SHUTDOWN


def test_a_failing_task_is_replaced_before_it_goes() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.write(ServiceState(stack="shop", service="web", counts={"a": 1}))
    sim.settle()
    [old] = sim.world.tasks_of("shop", "web")
    failing = msgspec.structs.replace(old.status, failing=True, error="monitor lost: gone")
    sim.write(failing)
    first = decided(sim)
    created = [r for r in first if isinstance(r, Task)]
    assert [task.slot for task in created] == [old.task.slot]
    assert not [r for r in first if isinstance(r, TaskDesired) and r.stop]
    sim.write(*first)  # type: ignore[arg-type]
    sim.write(TaskStatus(id=created[0].id, state=TaskState.RUNNING, ready=True))
    [new] = [v for v in sim.world.tasks_of("shop", "web") if v.task.id != old.task.id]
    assert new.ready
    asked = [r for r in decided(sim) if isinstance(r, TaskDesired) and r.stop]
    assert [(r.id, r.reason) for r in asked] == [(old.task.id, "monitor lost: gone")]
