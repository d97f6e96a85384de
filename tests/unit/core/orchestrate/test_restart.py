"""When an ended task is replaced."""

import pytest

from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.stack import RestartCondition, RestartPolicy
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView
from stackd.core.orchestrate.restart import Restart, delay, next_start


def ended(
    state: TaskState = TaskState.FAILED,
    attempt: int = 0,
    seen: float = 100,
    ready_at: float = 0,
    stop: bool = False,
) -> TaskView:
    task_id = TaskId(f"t{seen}")
    return TaskView(
        Task(
            id=task_id, stack="s", service="w", slot="1", revision=RevisionId("a"), attempt=attempt
        ),
        TaskDesired(id=task_id, stop=stop),
        TaskStatus(id=task_id, state=state, seen=seen, ready_at=ready_at),
    )


def test_the_first_task_of_a_slot_replaces_nothing() -> None:
    assert next_start(RestartPolicy(), []) == Restart()


@pytest.mark.parametrize(
    ("attempt", "wait"), [(0, 0), (1, 0), (2, 5), (3, 10), (4, 20), (5, 40), (6, 60), (500, 60)]
)
def test_first_at_once_then_doubling_to_a_minute(attempt: int, wait: float) -> None:
    assert delay(RestartPolicy(), attempt) == wait


def test_each_end_counts_on_the_task_that_replaces_it() -> None:
    assert next_start(RestartPolicy(), [ended(attempt=2)]) == Restart(3, 110)


def test_a_long_ready_run_starts_the_count_again() -> None:
    last = ended(attempt=6, seen=500, ready_at=400)
    assert next_start(RestartPolicy(), [last]) == Restart(1, 500)


@pytest.mark.parametrize(
    ("condition", "state", "again"),
    [
        (RestartCondition.ANY, TaskState.COMPLETE, True),
        (RestartCondition.ON_FAILURE, TaskState.COMPLETE, False),
        (RestartCondition.ON_FAILURE, TaskState.REJECTED, True),
        (RestartCondition.NONE, TaskState.FAILED, False),
        (RestartCondition.NONE, TaskState.ORPHANED, True),
    ],
)
def test_condition(condition: RestartCondition, state: TaskState, again: bool) -> None:
    found = next_start(RestartPolicy(condition=condition), [ended(state)])
    assert (found is not None) is again


def test_a_task_that_was_asked_to_go_is_no_attempt() -> None:
    assert next_start(RestartPolicy(), [ended(attempt=4, stop=True)]) == Restart()


def test_max_attempts_counts_for_ever_without_a_window() -> None:
    policy = RestartPolicy(max_attempts=3)
    assert next_start(policy, [ended(attempt=2)]) is not None
    assert next_start(policy, [ended(attempt=3, seen=900, ready_at=100)]) is None


def test_max_attempts_within_a_window() -> None:
    policy = RestartPolicy(max_attempts=1, window=60)
    assert next_start(policy, [ended(seen=10), ended(seen=100)]) is not None
    assert next_start(policy, [ended(seen=50), ended(seen=100)]) is None
