"""The next counts of a rolling change."""

import pytest

from stackd.core.model.strategy import Strategy
from stackd.core.rollout import rolling
from stackd.core.rollout.common import Observed, Tally
from tests.unit.core.rollout.cases import NOW, down, observed, pace, rollout, up


def counts(policy: Strategy, seen: Observed) -> dict[str, int]:
    return dict(rolling.step(policy, rollout(), seen, NOW).counts)


@pytest.mark.parametrize(
    ("policy", "seen", "expected"),
    [
        (pace(), observed(3, {}), {"b": 3}),
        (pace(), observed(3, {"a": 3}, a=up(3)), {"a": 3, "b": 1}),
        (pace(), observed(3, {"a": 3, "b": 1}, a=up(3), b=down(1)), {"a": 3, "b": 1}),
        (pace(), observed(3, {"a": 3, "b": 1}, a=up(3), b=up(1, 0)), {"a": 3, "b": 1}),
        (pace(), observed(3, {"a": 3, "b": 1}, a=up(3), b=up(1)), {"a": 2, "b": 1}),
        (pace(2), observed(3, {"a": 3}, a=up(3)), {"a": 3, "b": 2}),
        (pace(0, 1), observed(3, {"a": 3}, a=up(3)), {"a": 2}),
        (pace(0, 1), observed(3, {"a": 2}, a=up(2)), {"a": 2, "b": 1}),
        (pace(0, 2, parallelism=1), observed(3, {"a": 3}, a=up(3)), {"a": 2}),
        (pace(0, 0), observed(3, {"a": 3}, a=up(3)), {"a": 2}),
        (pace(), observed(2, {"a": 3}, a=up(3)), {"a": 2}),
        (pace(), observed(0, {"a": 3}, a=up(3)), {}),
    ],
)
def test_counts(policy: Strategy, seen: Observed, expected: dict[str, int]) -> None:
    assert counts(policy, seen) == {r: n for r, n in expected.items() if n}


def test_old_tasks_that_are_broken_do_not_block_a_stop_first_change() -> None:
    seen = observed(3, {"a": 3}, a=Tally(live=3, wanted=3, ready=2, available=2))
    assert counts(pace(0, 1), seen) == {"a": 2}


def test_tasks_that_still_end_take_room() -> None:
    ending = Tally(live=3, wanted=2, ready=2, available=2)
    assert counts(pace(), observed(3, {"a": 2, "b": 1}, a=ending, b=up(1))) == {"a": 2, "b": 1}


def test_a_superseded_revision_goes_before_the_stable_one() -> None:
    seen = observed(3, {"a": 2, "x": 1, "b": 1}, a=up(2), x=up(1), b=up(1))
    assert counts(pace(), seen) == {"a": 2, "b": 1}


def test_the_delay_keeps_the_next_batch_back_but_not_the_old_task_that_was_replaced() -> None:
    policy = pace(delay=10)
    seen = observed(3, {"a": 3, "b": 1}, a=up(3), b=up(1))
    step = rolling.step(policy, rollout(), seen, NOW)
    assert dict(step.counts) == {"a": 2, "b": 1}
    assert step.state.paused_until == NOW + 10
    assert step.wake_at == NOW + 10
    later = observed(3, {"a": 2, "b": 1}, a=up(2), b=up(1))
    assert dict(rolling.step(policy, step.state, later, NOW + 9).counts) == {"a": 2, "b": 1}
    assert dict(rolling.step(policy, step.state, later, NOW + 10).counts) == {"a": 2, "b": 2}


def test_it_wakes_when_a_task_will_have_been_ready_for_long_enough() -> None:
    seen = observed(1, {"a": 1, "b": 1}, a=up(1), b=up(1, 0))
    step = rolling.step(pace(), rollout(), seen, NOW)
    assert step.wake_at == NOW + 4
    assert step.reason == "0 of 1 tasks updated"
