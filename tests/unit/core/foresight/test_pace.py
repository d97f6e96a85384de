"""How long tasks are taken to start, and what their agents would say."""

import msgspec
import pytest

from stackd.core.foresight.pace import START, STOP, Pace, next_report, pace
from stackd.core.model.container import ContainerSpec, HealthCheck
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Record
from stackd.core.model.release import Revision
from stackd.core.model.states import Health, NodeState, TaskState
from stackd.core.model.world import TaskView, World
from tests.fakes.stacks import NOW, node, put, task

PACE = Pace({"web": 2.0}, frozenset())


def world(*found: Record, checked: bool = False) -> World:
    check = HealthCheck() if checked else None
    revision = Revision(
        stack="shop",
        service="web",
        id=RevisionId("a" * 12),
        container=ContainerSpec(image="web", healthcheck=check),
    )
    return put(World(), *node(), revision, *found)


def view(found: World) -> TaskView:
    return found.tasks_of("shop", "web")[0]


def test_starts_are_the_median_of_what_runs() -> None:
    times = (1.0, 2.0, 9.0)
    tasks = [r for i, t in enumerate(times) for r in task(f"t{i}", status_ready_at=NOW + t)]
    late = task("t9", not_before=NOW + 50, status_ready_at=NOW + 52.5)
    found = pace(world(*tasks, *late), "shop", ("web", "db"))
    assert found.starts == {"web": 2.25, "db": START}
    assert found.measured == {"web"}


def test_tasks_that_are_not_ready_say_nothing_of_starts() -> None:
    broken = task("t1", TaskState.STARTING, status_ready_at=NOW + 1)
    assert pace(world(*broken), "shop", ("web",)).measured == frozenset()


def test_without_check_and_port_time_proves_it() -> None:
    found = world(*task("t1", TaskState.ASSIGNED, status_seen=NOW))
    at, said = next_report(found, view(found), NOW, PACE) or (0.0, None)
    assert said is not None
    assert (at, said.ready_at, said.proven) == (NOW + 7, NOW + 2, 5)
    assert (said.state, said.ready, said.health) == (TaskState.RUNNING, True, Health.NONE)


@pytest.mark.parametrize("checked", [True, False])
def test_a_check_or_a_port_proves_it(checked: bool) -> None:
    ports = () if checked else (80,)
    records = task("t1", TaskState.ASSIGNED, status_seen=NOW, ready_ports=ports)
    found = world(*records, checked=checked)
    at, said = next_report(found, view(found), NOW, PACE) or (0.0, None)
    assert said is not None
    assert (at, said.ready_at, said.proven) == (NOW + 2, NOW + 2, 0)
    assert said.health is (Health.HEALTHY if checked else Health.NONE)


def test_what_started_before_goes_on_from_there() -> None:
    found = world(*task("t1", TaskState.STARTING, status_seen=NOW - 60, ready_ports=(80,)))
    assert (next_report(found, view(found), NOW, PACE) or (0, None))[0] == NOW


def test_what_is_told_to_stop_ends_soon() -> None:
    found = world(*task("t1", desired_state=TaskState.SHUTDOWN))
    at, said = next_report(found, view(found), NOW, PACE) or (0.0, None)
    assert said is not None
    assert (at, said.state, said.ready) == (NOW + STOP, TaskState.SHUTDOWN, False)


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.RUNNING, TaskState.FAILED])
def test_nothing_is_said_without_need(state: TaskState) -> None:
    found = world(*task("t1", state))
    assert next_report(found, view(found), NOW, PACE) is None


def test_a_node_that_is_down_says_nothing() -> None:
    found = world(*task("t1", TaskState.STARTING))
    put(found, msgspec.structs.replace(node()[1], state=NodeState.DOWN))
    assert next_report(found, view(found), NOW, PACE) is None
