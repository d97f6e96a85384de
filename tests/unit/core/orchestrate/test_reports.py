"""Which reports of agents are taken."""

import pytest

from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskStatus
from stackd.core.model.world import World
from stackd.core.orchestrate.reports import ERROR_LIMIT, accepted

T1 = TaskId("t1")


def world_at(state: TaskState, **more: object) -> World:
    world = World()
    made = Task(id=T1, stack="s", service="w", slot="1", revision=RevisionId("r"), node="n1")
    world.apply(made, 1)
    world.apply(TaskStatus(id=T1, state=state, **more), 2)  # type: ignore[arg-type]
    return world


def said(state: TaskState, **more: object) -> TaskStatus:
    return TaskStatus(id=T1, state=state, **more)  # type: ignore[arg-type]


def test_progress_is_stamped_with_the_managers_clock() -> None:
    world = world_at(TaskState.STARTING, seen=5.0)
    found = accepted(world, "n1", said(TaskState.RUNNING, ready=True, at=1.0), 9.0)
    assert found == said(TaskState.RUNNING, ready=True, at=1.0, seen=9.0, ready_at=9.0)


def test_first_ready_time_stays() -> None:
    world = world_at(TaskState.RUNNING, seen=5.0, ready_at=6.0, ready=True)
    found = accepted(world, "n1", said(TaskState.RUNNING, error="flaps"), 9.0)
    assert found is not None
    assert (found.seen, found.ready_at, found.ready) == (5.0, 6.0, False)


@pytest.mark.parametrize(("claimed", "counted"), [(5.0, 5.0), (1e9, 5.0), (-3.0, 0.0)])
def test_time_that_readiness_has_shown_counts_but_no_more_than_it_takes(
    claimed: float, counted: float
) -> None:
    world = world_at(TaskState.STARTING)
    found = accepted(world, "n1", said(TaskState.RUNNING, ready=True, proven=claimed), 100.0)
    assert found is not None
    assert found.ready_at == 100.0 - counted


@pytest.mark.parametrize(
    ("now", "report"),
    [
        (TaskState.RUNNING, said(TaskState.STARTING)),
        (TaskState.FAILED, said(TaskState.SHUTDOWN)),
        (TaskState.ORPHANED, said(TaskState.RUNNING)),
        (TaskState.PENDING, said(TaskState.ACCEPTED)),
        (TaskState.ASSIGNED, said(TaskState.ASSIGNED)),
        (TaskState.RUNNING, said(TaskState.ORPHANED)),
        (TaskState.RUNNING, said(TaskState.REMOVE)),
        (TaskState.RUNNING, said(TaskState.RUNNING)),
    ],
)
def test_ignored(now: TaskState, report: TaskStatus) -> None:
    assert accepted(world_at(now), "n1", report, 9.0) is None


def test_foreign_and_unknown() -> None:
    world = world_at(TaskState.ASSIGNED)
    assert accepted(world, "n2", said(TaskState.RUNNING), 9.0) is None
    other = TaskStatus(id=TaskId("t9"), state=TaskState.RUNNING)
    assert accepted(world, "n1", other, 9.0) is None


def test_only_a_running_task_is_ready_and_errors_are_cut() -> None:
    world = world_at(TaskState.ASSIGNED)
    long = "e" * (ERROR_LIMIT * 2)
    found = accepted(world, "n1", said(TaskState.FAILED, ready=True, error=long), 9.0)
    assert found is not None
    assert not found.ready
    assert len(found.error) == ERROR_LIMIT
