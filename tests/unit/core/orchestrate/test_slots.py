"""Which tasks come and which go so that counts become true."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.stack import RestartPolicy
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView
from stackd.core.orchestrate.slots import Scene, choose


def task(
    slot: int,
    revision: str = "a",
    ready: bool = True,
    state: TaskState = TaskState.RUNNING,
    stop: bool = False,
    node: str = "n1",
) -> TaskView:
    task_id = TaskId(f"{revision}{slot}{state}{stop}")
    return TaskView(
        Task(
            id=task_id,
            stack="s",
            service="w",
            slot=str(slot),
            revision=RevisionId(revision),
            node=node,
        ),
        TaskDesired(id=task_id, stop=stop),
        TaskStatus(id=task_id, state=state, ready=ready and state is TaskState.RUNNING),
    )


def scene(
    *tasks: TaskView,
    slots: int = 3,
    exclusive: bool = False,
    leaving: Mapping[TaskId, str] | None = None,
) -> Scene:
    return Scene(
        slots=tuple(str(n + 1) for n in range(slots)),
        tasks=tasks,
        policy=RestartPolicy(),
        exclusive=exclusive,
        leaving=leaving or {},
    )


def starts(counts: dict[str, int], given: Scene) -> list[tuple[str, str]]:
    return [(start.slot, start.revision) for start in choose(counts, given).start]


def stops(counts: dict[str, int], given: Scene) -> list[tuple[str, str]]:
    return [(s.task.task.slot, s.task.task.revision) for s in choose(counts, given).stop]


def test_an_empty_service_fills_its_slots_in_order() -> None:
    assert starts({"a": 2}, scene()) == [("1", "a"), ("2", "a")]


def test_true_counts_need_nothing() -> None:
    found = choose({"a": 3}, scene(task(1), task(2), task(3)))
    assert (found.start, found.stop) == ((), ())


def test_scaling_down_takes_the_slots_that_are_no_longer_wanted() -> None:
    assert stops({"a": 1}, scene(task(1), task(2), task(3), slots=1)) == [("3", "a"), ("2", "a")]


def test_a_task_in_a_slot_that_is_not_wanted_serves_until_the_wanted_one_is_ready() -> None:
    assert starts({"b": 1}, scene(task(2, "b"), slots=1)) == [("1", "b")]
    assert stops({"b": 1}, scene(task(2, "b"), slots=1)) == []
    starting = task(1, "b", ready=False)
    assert stops({"b": 1}, scene(task(2, "b"), starting, slots=1)) == []
    assert stops({"b": 1}, scene(task(2, "b"), task(1, "b"), slots=1)) == [("2", "b")]


def test_a_surplus_task_that_is_not_ready_goes_first() -> None:
    assert stops({"a": 2}, scene(task(1, ready=False), task(2), task(3))) == [("1", "a")]


def test_a_new_revision_shares_the_slot_of_the_task_that_it_replaces() -> None:
    given = scene(task(1), task(2), task(3))
    assert starts({"a": 3, "b": 1}, given) == [("1", "b")]


def test_the_old_task_of_a_replaced_slot_goes() -> None:
    given = scene(task(1), task(2), task(3), task(2, "b"))
    assert stops({"a": 2, "b": 1}, given) == [("2", "a")]


def test_a_slot_that_is_free_is_filled_before_one_is_shared() -> None:
    assert starts({"a": 2, "b": 1}, scene(task(1), task(3))) == [("2", "b")]


def test_an_exclusive_slot_waits_until_its_old_task_has_ended() -> None:
    going = task(1, stop=True)
    assert starts({"b": 1}, scene(going, slots=1, exclusive=True)) == []
    assert starts({"b": 1}, scene(going, slots=1)) == [("1", "b")]


def test_a_failed_task_is_replaced_in_its_slot() -> None:
    given = scene(task(1), task(2, state=TaskState.FAILED), task(3))
    found = choose({"a": 3}, given).start
    assert [(s.slot, s.restart.attempt) for s in found] == [("2", 1)]
    assert found[0].replaces is not None


def test_a_task_that_must_move_goes_once_its_replacement_is_ready() -> None:
    moving = task(1)
    leaving = {moving.task.id: "its node is drained"}
    assert starts({"a": 1}, scene(moving, slots=1, leaving=leaving)) == [("1", "a")]
    other = replace(
        moving,
        task=Task(
            id=TaskId("new"), stack="s", service="w", slot="1", revision=RevisionId("a"), node="n2"
        ),
    )
    assert stops({"a": 1}, scene(moving, other, slots=1, leaving=leaving)) == [("1", "a")]


def test_a_failed_task_of_a_rollout_waits_until_it_has_been_counted() -> None:
    failed = task(1, "b", state=TaskState.FAILED)
    base = {"slots": ("1",), "tasks": (failed,), "policy": RestartPolicy(), "target": "b"}
    assert choose({"b": 1}, Scene(**base, counted=frozenset())).start == ()  # type: ignore[arg-type]
    counted = frozenset({failed.task.id})
    assert len(choose({"b": 1}, Scene(**base, counted=counted)).start) == 1  # type: ignore[arg-type]


def test_a_thousand_tasks_are_stopped_by_slot() -> None:
    tasks = [task(n + 1) for n in range(1000)]
    found = choose({"a": 500}, scene(*tasks, slots=500)).stop
    assert {int(s.task.task.slot) for s in found} == set(range(501, 1001))


def test_a_replacement_comes_in_the_slot_of_what_it_replaces() -> None:
    """In the middle of a rollout the revision has few slots, and others are as good."""
    old = [task(n, "a") for n in (1, 2, 3)]
    moving = task(3, "b", node="n2")
    given = scene(*old, moving, leaving={moving.task.id: "drained"})
    assert starts({"a": 3, "b": 1}, given) == [("3", "b")]


def test_what_must_move_goes_first_when_fewer_are_wanted() -> None:
    tasks = [task(n) for n in (1, 2, 3)]
    given = scene(*tasks, leaving={tasks[0].task.id: "drained"})
    assert stops({"a": 2}, given) == [("1", "a")]
    assert starts({"a": 2}, given) == []


def test_a_revision_that_is_not_wanted_goes_also_from_a_drained_node() -> None:
    moving = task(1, "a", node="n2")
    given = scene(moving, task(1, "b"), slots=1, leaving={moving.task.id: "drained"})
    assert stops({"b": 1}, given) == [("1", "a")]


def double(slot: int, *, ready: bool, node: str = "n2") -> TaskView:
    view = task(slot, ready=ready, state=TaskState.RUNNING, node=node)
    other = TaskId(f"{view.task.id}x")
    return TaskView(
        msgspec.structs.replace(view.task, id=other, created=5.0),
        TaskDesired(id=other),
        msgspec.structs.replace(view.status, id=other),
    )


def test_a_replacement_that_is_not_needed_any_more_goes_and_nothing_else() -> None:
    """A drain was called off while it went on."""
    given = scene(task(1), task(2), double(2, ready=False), slots=3)
    assert starts({"a": 3}, given) == [("3", "a")]
    assert [s.task.task.node for s in choose({"a": 3}, given).stop] == ["n2"]


def test_a_double_that_serves_goes_when_the_others_are_enough() -> None:
    missing = scene(task(1), task(2), double(2, ready=True), slots=3)
    assert starts({"a": 3}, missing) == [("3", "a")]
    assert stops({"a": 3}, missing) == []
    enough = scene(task(1), task(2), task(3), double(2, ready=True), slots=3)
    assert stops({"a": 3}, enough) == [("2", "a")]
