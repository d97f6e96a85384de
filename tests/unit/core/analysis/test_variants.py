"""A/B: the verdict on the goal, and what is shown of both variants."""

import pytest

from stackd.core.analysis import variants
from stackd.core.model.variants import GoalVerdict, Tried, UserGoal, Variants

GOAL = UserGoal(path="/order", method="POST")


def after(stable: Tried, target: Tried, goal: UserGoal | None = GOAL) -> Variants:
    begun = variants.going_on(None, goal, 5.0)
    return variants.counted(begun, (stable, target), 7.0)


def tried(requests: int, goals: int, errors: int = 0) -> Tried:
    return Tried(requests=requests, goals=goals, errors=errors)


@pytest.mark.parametrize(
    ("stable", "target", "verdict"),
    [
        (tried(4000, 160), tried(1000, 40), GoalVerdict.INCONCLUSIVE),
        (tried(4000, 160), tried(1000, 80), GoalVerdict.BETTER),
        (tried(4000, 160), tried(1000, 10), GoalVerdict.WORSE),
        (tried(4000, 160), tried(1000, 42), GoalVerdict.INCONCLUSIVE),
        (tried(4000, 160), tried(0, 0), GoalVerdict.INCONCLUSIVE),
        (tried(4000, 0), tried(1000, 0), GoalVerdict.INCONCLUSIVE),
    ],
)
def test_the_verdict(stable: Tried, target: Tried, verdict: GoalVerdict) -> None:
    assert after(stable, target).verdict is verdict


def test_a_verdict_stands_and_the_counts_go_on() -> None:
    known = after(tried(4000, 160), tried(1000, 80))
    known = variants.counted(known, (tried(8000, 320), tried(2000, 80)), 9.0)
    assert known.verdict is GoalVerdict.BETTER
    assert (known.since, known.at, known.target) == (5.0, 9.0, tried(2000, 80))


def test_nothing_is_weighed_while_one_side_has_no_requests() -> None:
    waiting = after(tried(4000, 160), tried(0, 0))
    assert waiting.weighed.more == ()
    both = variants.counted(waiting, (tried(4000, 160), tried(1000, 80)), 9.0)
    assert both.weighed == after(tried(4000, 160), tried(1000, 80)).weighed


def test_nothing_new_changes_nothing_and_another_goal_begins_anew() -> None:
    known = after(tried(4000, 160), tried(1000, 80))
    assert variants.counted(known, (known.stable, known.target), 99.0) is known
    assert variants.going_on(known, GOAL, 99.0) is known
    other = variants.going_on(known, None, 99.0)
    assert other == Variants(since=99.0, at=99.0)


def test_what_is_shown() -> None:
    row = variants.shown(after(tried(4000, 160, 8), tried(1000, 50)), "a1", "b2")
    stable, target = row.variants
    assert (stable.revision, stable.role, stable.requests, stable.errors) == (
        "a1",
        "stable",
        4000,
        8,
    )
    assert (target.revision, target.role, target.goals) == ("b2", "target", 50)
    assert stable.error_rate.value == 0.002
    assert target.goal_rate is not None
    assert target.goal_rate.low < 0.05 < target.goal_rate.high
    goal = row.goal
    assert goal is not None
    assert (goal.words, goal.verdict, goal.decides_at) == ("POST /order 2xx", "inconclusive", 200.0)
    assert goal.ratio is not None
    assert goal.ratio.value == pytest.approx(1.25)
    assert goal.better > 1 > goal.worse
    assert goal.requests_left is not None
    assert goal.requests_left > 5000
    assert variants.shown(after(tried(9, 0), tried(9, 0)), "a1", "b2").goal != goal


def test_without_a_goal_there_are_rates_and_no_verdict() -> None:
    row = variants.shown(after(tried(100, 0, 3), tried(10, 0), goal=None), "a1", "b2")
    assert row.goal is None
    assert [v.goal_rate for v in row.variants] == [None, None]
    assert row.variants[0].error_rate.value == 0.03


def test_no_verdict_in_sight_is_none() -> None:
    goal = variants.shown(after(tried(4000, 160), tried(1000, 40)), "a", "b").goal
    assert goal is not None
    assert goal.requests_left is None
