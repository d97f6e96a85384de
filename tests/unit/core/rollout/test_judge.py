"""Failures and deadlines of a rollout."""

import msgspec
import pytest

from stackd.core.model.analysis import AnalysisPolicy, Verdict
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.stack import RestartCondition, RestartPolicy
from stackd.core.model.states import TaskState
from stackd.core.model.strategy import Analyse, Strategy, StrategyKind
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView
from stackd.core.rollout import judge
from tests.fakes.simulation import web
from tests.unit.core.rollout.cases import NOW, observed, pace, rollout, said, up


def view(
    number: int, state: TaskState, created: float = NOW, revision: str = "b", **desired: object
) -> TaskView:
    task_id = TaskId(f"t{number}")
    return TaskView(
        Task(
            id=task_id,
            stack="s",
            service="w",
            slot="1",
            revision=RevisionId(revision),
            created=created,
        ),
        TaskDesired(id=task_id, **desired),  # type: ignore[arg-type]
        TaskStatus(id=task_id, state=state, error="exit code 7"),
    )


def test_failed_tasks_of_the_target_count_once() -> None:
    views = [
        view(1, TaskState.FAILED),
        view(2, TaskState.REJECTED),
        view(3, TaskState.RUNNING, stop=True, failed=True),
        view(4, TaskState.COMPLETE),
        view(5, TaskState.FAILED, stop=True),
        view(6, TaskState.FAILED, created=NOW - 1),
        view(7, TaskState.FAILED, revision="a"),
        view(8, TaskState.ORPHANED),
    ]
    once = judge.count_failures(rollout(), views, web())
    assert (once.failures, once.counted) == (4, ("t1", "t2", "t3", "t4"))
    assert judge.count_failures(once, views, web()) is once


def test_ending_with_0_is_no_failure_where_the_policy_allows_it() -> None:
    spec = web(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE))
    assert judge.count_failures(rollout(), [view(4, TaskState.COMPLETE)], spec).failures == 0


def test_the_ratio_is_of_the_tasks_wanted() -> None:
    views = [view(1, TaskState.FAILED), view(2, TaskState.FAILED)]
    failed = judge.count_failures(rollout(), views, web())
    assert judge.too_many(failed, Strategy(max_failure_ratio=0.5), views, 4) == ""
    text = judge.too_many(failed, Strategy(max_failure_ratio=0.4), views, 4)
    assert text == "2 tasks of revision b failed: exit code 7"


def test_progress_starts_the_deadline_again() -> None:
    policy = pace(progress_deadline=100.0)
    seen = observed(2, {"a": 2}, a=up(2))
    first = judge.tick(rollout(), seen, policy, NOW)
    assert first.best == -2
    later = judge.tick(first, seen, policy, NOW + 10)
    assert (later.moved, later.deadline_left) == (NOW + 10, 90)
    more = judge.tick(later, observed(2, {"a": 1, "b": 1}, a=up(1), b=up(1)), policy, NOW + 12)
    assert more.deadline_left == 100


def test_the_time_left_is_written_every_five_seconds_only() -> None:
    seen = observed(2, {"a": 2}, a=up(2))
    first = judge.tick(rollout(), seen, pace(), NOW)
    assert judge.tick(first, seen, pace(), NOW + 4) is first


def test_time_without_a_manager_does_not_count() -> None:
    assert judge.left(rollout(deadline_left=100), NOW + 3_600) == 85
    assert judge.left(rollout(deadline_left=100), NOW - 3_600) == 100


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (None, ""),
        (Verdict.PASS, ""),
        (Verdict.INCONCLUSIVE, ""),
        (Verdict.FAIL, "revision b did not pass its analysis (background): 3 of 9 failed"),
    ],
)
def test_only_a_failed_analysis_refuses_a_revision(verdict: Verdict | None, text: str) -> None:
    answers = {"background": said(verdict, "3 of 9 failed")} if verdict else {}
    policy = Strategy(kind=StrategyKind.CANARY, analysis=AnalysisPolicy())
    assert judge.refused(rollout(source=RevisionId("a")), answers, policy) == text


def test_an_answer_that_nobody_asks_for_says_nothing() -> None:
    policy = Strategy(kind=StrategyKind.CANARY, steps=(Analyse(policy=AnalysisPolicy()),))
    answers = {"step 1": said(Verdict.FAIL)}
    going = rollout(source=RevisionId("a"), judges=True)
    assert judge.refused(going, answers, policy) == (
        "revision b did not pass its analysis (step 1)"
    )
    for other in ({"judges": False}, {"step": 1}, {"attempt": 1}, {"full": True}):
        assert judge.refused(msgspec.structs.replace(going, **other), answers, policy) == ""
