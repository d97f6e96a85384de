"""Every state on the way has a deadline with a cause."""

import msgspec
import pytest

from stackd.core.model.container import ContainerSpec, HealthCheck, Mount, MountKind
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.record import Put
from stackd.core.model.release import Revision
from stackd.core.model.states import Health, NodeState, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.orchestrate import deadlines
from tests.fakes.simulation import Simulation, web

NOW = 10_000.0


def world_with(state: TaskState, **fields: object) -> Simulation:
    sim = Simulation(2)
    sim.deploy("shop", {"web": (web(), "a")})
    task_id = TaskId("t1")
    node = "n1" if state >= TaskState.ASSIGNED else ""
    desired = fields.pop("desired", TaskDesired(id=task_id))
    assert isinstance(desired, TaskDesired)
    status = {"id": task_id, "state": state, "seen": NOW, **fields}
    sim.write(
        Task(
            id=task_id, stack="shop", service="web", slot="1", revision=RevisionId("a"), node=node
        ),
        desired,
        TaskStatus(**status),  # type: ignore[arg-type]
    )
    return sim


def after(sim: Simulation, seconds: float) -> list[object]:
    found = deadlines.decide(sim.world, "t1", NOW + seconds, 0, sim.ids.__next__)
    return [c.record for g in found.commits for c in g.changes if isinstance(c, Put)]


@pytest.mark.parametrize(
    ("state", "limit"),
    [
        (TaskState.ASSIGNED, 30),
        (TaskState.ACCEPTED, 30),
        (TaskState.PREPARING, 600),
        (TaskState.READY, 120),
        (TaskState.STARTING, 60),
    ],
)
def test_a_state_that_lasts_too_long_ends_the_task_with_a_cause(
    state: TaskState, limit: float
) -> None:
    sim = world_with(state)
    assert after(sim, limit - 1) == []
    asked = next(r for r in after(sim, limit + 1) if isinstance(r, TaskDesired))
    assert asked.stop
    assert asked.failed
    assert asked.reason


def test_a_running_task_has_no_deadline() -> None:
    assert after(world_with(TaskState.RUNNING, ready=True), 1e9) == []


def test_time_before_this_manager_led_does_not_count() -> None:
    sim = world_with(TaskState.ASSIGNED)
    view = sim.world.task("t1")
    assert view is not None
    due = deadlines.deadline(sim.world, view, since=NOW + 500)
    assert due is not None
    assert due.at == NOW + 530


def test_pending_has_a_deadline_only_while_a_rollout_runs() -> None:
    sim = world_with(TaskState.PENDING, error="no node has room: 2 paused")
    view = sim.world.task("t1")
    assert view is not None
    assert deadlines.deadline(sim.world, view) is None


@pytest.mark.parametrize(
    ("check", "health", "limit"),
    [
        (None, Health.NONE, 60),
        (None, Health.STARTING, 240),
        (HealthCheck(interval=2, timeout=1, retries=2, start_period=5), Health.STARTING, 60),
        (HealthCheck(interval=30, timeout=10, retries=4, start_period=20), Health.NONE, 220),
        (HealthCheck(disabled=True), Health.NONE, 60),
    ],
)
def test_starting_follows_the_health_check(
    check: HealthCheck | None, health: Health, limit: float
) -> None:
    sim = world_with(TaskState.STARTING, health=health)
    container = ContainerSpec(image="web", healthcheck=check)
    sim.write(Revision(stack="shop", service="web", id=RevisionId("a"), container=container))
    view = sim.world.task("t1")
    assert view is not None
    assert deadlines.starting(sim.world, view) == limit


def test_tasks_of_a_node_that_is_down_are_given_up_when_another_can_run_them() -> None:
    sim = world_with(TaskState.RUNNING, ready=True)
    sim.set_node("n1", NodeState.DOWN)
    records = after(sim, 1)
    status = next(r for r in records if isinstance(r, TaskStatus))
    assert (status.state, status.error) == (TaskState.ORPHANED, "n1 is down")
    assert next(r for r in records if isinstance(r, TaskDesired)).state is TaskState.SHUTDOWN


def test_they_stay_when_no_other_node_could() -> None:
    sim = world_with(TaskState.RUNNING, ready=True)
    sim.set_node("n1", NodeState.DOWN)
    sim.set_node("n2", NodeState.DOWN)
    assert after(sim, 1_000) == []


def test_a_stop_on_a_node_that_is_down_is_not_waited_for_but_for_its_volume() -> None:
    asked = TaskDesired(id=TaskId("t1"), stop=True, stop_at=NOW, reason="scaled")
    sim = world_with(TaskState.RUNNING, desired=asked)
    sim.set_node("n1", NodeState.DOWN)
    status = next(r for r in after(sim, 0) if isinstance(r, TaskStatus))
    assert (status.state, status.error) == (TaskState.ORPHANED, "n1 is down")
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    revision = next(sim.world.all(Revision))
    container = msgspec.structs.replace(revision.container, mounts=(mount,))
    sim.write(msgspec.structs.replace(revision, container=container))
    assert after(sim, 49) == []
    assert any(isinstance(r, TaskStatus) for r in after(sim, 51))


def test_a_stop_waits_while_no_node_is_heard() -> None:
    asked = TaskDesired(id=TaskId("t1"), stop=True, stop_at=NOW, reason="scaled")
    sim = world_with(TaskState.RUNNING, desired=asked)
    for node in ("n1", "n2"):
        sim.set_node(node, NodeState.DOWN)
    assert after(sim, 49) == []


def test_a_stop_that_is_not_reported_ends_as_orphaned() -> None:
    asked = TaskDesired(
        id=TaskId("t1"), state=TaskState.SHUTDOWN, stop=True, stop_at=NOW, reason="scaled"
    )
    sim = world_with(TaskState.RUNNING, desired=asked)
    assert after(sim, 49) == []
    status = next(r for r in after(sim, 51) if isinstance(r, TaskStatus))
    assert status.state is TaskState.ORPHANED
    assert "not stopped within 50s" in status.error


def test_a_task_that_leaves_the_traffic_is_not_hurried() -> None:
    asked = TaskDesired(id=TaskId("t1"), stop=True, stop_at=NOW)
    assert after(world_with(TaskState.RUNNING, desired=asked), 10_000) == []
