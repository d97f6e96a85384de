"""One look of canary and blue-green: counts, weights, steps."""

from typing import Any

import msgspec
import pytest

from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, RolloutPhase
from stackd.core.model.strategy import (
    Amount,
    Matcher,
    Pause,
    RolloutStep,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
)
from stackd.core.model.traffic import Steering
from stackd.core.rollout import canary
from stackd.core.rollout.common import Observed, Step, Tally
from tests.unit.core.rollout.cases import NOW, rollout, up

STEPS = (
    SetWeight(weight=500),
    Pause(seconds=120.0),
    SetScale(tasks=Amount(value=3)),
    SetWeight(weight=5000),
    Pause(),
)
ALL_ON_A = {"a": 10_000}


def seen(b: Tally, weights: dict[str, int], n: int = 4, **fields: object) -> Observed:
    """`a` is stable and whole; every node has applied the weights and knows every ready task."""
    base: dict[str, object] = {
        "target": "b",
        "stable": "a",
        "wanted": n,
        "counts": {"a": n, "b": b.wanted},
        "tallies": {"a": up(n), "b": b},
        "weights": weights,
        "applied": True,
        "carried": {"a": n, "b": b.ready},
    }
    return Observed(**{**base, **fields})  # type: ignore[arg-type]


def look(
    observed: Observed,
    state: Rollout | None = None,
    steps: tuple[RolloutStep, ...] = STEPS,
    now: float = NOW,
) -> Step:
    return canary.step(Strategy(steps=steps), state or rollout(), observed, now)


def test_before_the_first_weight_all_traffic_is_stables() -> None:
    found = look(seen(Tally(), {}))
    assert found.counts == {"a": 4, "b": 1}
    assert found.weights == ALL_ON_A
    assert found.reason == "step 1 of 5: set_weight 5%, 0 of 1 tasks are in place"


@pytest.mark.parametrize(
    "observed",
    [
        seen(up(1, 0), ALL_ON_A),
        seen(up(1), ALL_ON_A, applied=False),
        seen(up(1), ALL_ON_A, carried={"a": 4}),
    ],
    ids=["not ready for long enough", "not applied everywhere", "not in the table"],
)
def test_a_weight_waits_for_tasks_that_every_node_knows(observed: Observed) -> None:
    found = look(observed)
    assert found.weights == ALL_ON_A
    assert found.state.step == 0
    short = observed.tally("b").available == 0
    waits = "0 of 1 tasks are in place" if short else "waits until every node has applied it"
    assert found.reason == f"step 1 of 5: set_weight 5%, {waits}"


def test_a_weight_is_reached_when_every_node_has_applied_it() -> None:
    first = look(seen(up(1), ALL_ON_A))
    assert (first.weights, first.state.step) == ({"a": 9500, "b": 500}, 0)
    waiting = look(seen(up(1), {"a": 9500, "b": 500}, applied=False), first.state)
    assert waiting.state.step == 0
    reached = look(seen(up(1), {"a": 9500, "b": 500}), first.state)
    assert (reached.state.step, reached.state.pause_left) == (1, 120.0)
    assert reached.told == "step 2 of 5: pause 120s"
    assert reached.wake_at == NOW + 120


@pytest.mark.parametrize(
    ("weight", "replicas", "tasks"),
    [(1, 1, 1), (9_900, 1, 1), (500, 20, 1), (501, 20, 2), (3_333, 3, 1), (3_334, 3, 2)],
)
def test_a_canary_has_as_many_tasks_as_its_weight_needs(
    weight: int, replicas: int, tasks: int
) -> None:
    found = look(seen(Tally(), {}, replicas), steps=(SetWeight(weight=weight),))
    assert found.counts == {"a": replicas, "b": tasks}


def test_a_scale_is_the_least_from_there_on() -> None:
    at_scale = look(seen(up(1), {"a": 9500, "b": 500}), rollout(step=2))
    assert at_scale.counts == {"a": 4, "b": 3}
    after = look(seen(up(3), {"a": 9500, "b": 500}), rollout(step=3))
    assert after.counts == {"a": 4, "b": 3}, "a weight of 50 % alone would need two"
    many = look(seen(Tally(), {}), steps=(SetScale(tasks=Amount(value=90)),))
    assert many.counts == {"a": 4, "b": 4}


def test_the_time_of_a_pause_is_kept_every_5_s_and_a_time_without_manager_does_not_count() -> None:
    observed = seen(up(1), {"a": 9500, "b": 500})
    paused = rollout(step=1, pause_left=120.0, pause_at=NOW)
    assert look(observed, paused, now=NOW + 4).state == msgspec.structs.replace(paused, updated=1)
    kept = look(observed, paused, now=NOW + 5).state
    assert (kept.pause_left, kept.pause_at) == (115.0, NOW + 5)
    away = look(observed, paused, now=NOW + 1_000).state
    assert away.step == 1
    assert away.pause_left > 110
    nearly = rollout(step=1, pause_left=3.0, pause_at=NOW)
    assert look(observed, nearly, now=NOW + 3).state.step == 2


def test_a_pause_begins_when_the_tasks_of_its_step_are_in_place() -> None:
    steps = (Pause(seconds=9.0),)
    assert look(seen(up(1, 0), ALL_ON_A), steps=steps).state.pause_at == 0
    begun = look(seen(up(1), ALL_ON_A), steps=steps).state
    assert begun.pause_at == NOW
    assert look(seen(Tally(), ALL_ON_A), begun, steps).state == msgspec.structs.replace(
        begun, updated=0
    )


def test_a_step_that_was_changed_while_it_paused_is_no_pause_any_more() -> None:
    state = rollout(step=0, waits=True, pause_left=5.0, pause_at=NOW)
    found = look(seen(up(1, 0), ALL_ON_A), state).state
    assert (found.waits, found.pause_at, found.step) == (False, 0, 0)


@pytest.mark.parametrize(
    ("steps", "at"),
    [
        ((STEPS[0], Pause()), 1),
        ((STEPS[0], Pause(), *STEPS[2:4]), 1),
        ((STEPS[0], Pause(seconds=9.0), STEPS[3], Pause()), 3),
    ],
)
def test_a_pause_that_an_edit_has_moved_is_not_gone_past(
    steps: tuple[RolloutStep, ...], at: int
) -> None:
    state = rollout(step=3 if len(steps) > 2 else 2, waits=True)
    found = look(seen(up(3), {"a": 5000, "b": 5000}), state, steps).state
    assert (found.step, found.waits) == (at, True)


def test_a_pause_without_time_waits_for_a_person() -> None:
    found = look(seen(up(3), {"a": 5000, "b": 5000}), rollout(step=4))
    assert found.state.waits
    assert found.wake_at is None
    assert not found.done


def test_the_new_one_grows_takes_over_and_is_done_when_every_node_has_applied_it() -> None:
    half = {"a": 5000, "b": 5000}
    grows = look(seen(up(3), half), rollout(step=5))
    assert (grows.counts, grows.weights) == ({"a": 4, "b": 4}, half)
    takes = look(seen(up(4), half), rollout(step=5))
    assert (takes.weights, takes.done) == ({"b": 10_000}, False)
    assert not look(seen(up(4), {"b": 10_000}, applied=False), rollout(step=5)).done
    assert not look(seen(up(4), {"b": 10_000}, blocked="a port is taken"), rollout(step=5)).done
    assert look(seen(up(4), {"b": 10_000}), rollout(step=5)).done


@pytest.mark.parametrize("state", [rollout(full=True), rollout()])
def test_full_and_proven_skip_the_steps(state: Rollout) -> None:
    found = look(seen(up(4), ALL_ON_A, proven=not state.full), state)
    assert found.weights == {"b": 10_000}
    assert (found.state.step, found.state.full) == (len(STEPS), True)


def test_a_first_rollout_has_nothing_beside_which_it_could_grow() -> None:
    first = Observed(target="b", stable="", wanted=3, counts={})
    found = look(first)
    assert (found.counts, found.weights, found.done) == ({"b": 3}, {}, False)


def test_what_was_superseded_loses_its_traffic_then_its_tasks_before_the_first_step() -> None:
    tallies = {"a": up(4), "x": up(2)}
    weights = {"a": 5000, "x": 5000}
    observed = seen(Tally(), weights, tallies=tallies, counts={"a": 4, "x": 2})
    first = look(observed)
    assert (first.weights, first.counts) == (ALL_ON_A, {"a": 4, "x": 2})
    waiting = seen(Tally(), ALL_ON_A, tallies=tallies, counts={"a": 4, "x": 2}, applied=False)
    assert look(waiting).counts == {"a": 4, "x": 2}
    applied = seen(Tally(), ALL_ON_A, tallies=tallies, counts={"a": 4, "x": 2})
    assert look(applied).counts == {"a": 4}
    ending = seen(Tally(), ALL_ON_A, tallies={"a": up(4), "x": Tally(live=1)}, counts={"a": 4})
    assert look(ending).counts == {"a": 4}, "what still drains takes room"


def test_tasks_of_the_target_that_still_end_take_room_but_none_goes_for_them() -> None:
    again = look(seen(Tally(live=1), ALL_ON_A, 1))
    assert again.counts == {"a": 1}
    one_died = look(seen(Tally(live=4, wanted=3, ready=3, available=3), ALL_ON_A), rollout(step=5))
    assert one_died.counts == {"a": 4, "b": 3}
    full = look(seen(Tally(live=5, wanted=4, ready=4, available=4), ALL_ON_A), rollout(step=5))
    assert full.counts == {"a": 4, "b": 4}


def test_on_the_way_back_the_weight_goes_first() -> None:
    state = rollout(phase=RolloutPhase.ROLLING_BACK, step=3)
    back: dict[str, Any] = {"target": "a", "counts": {"a": 4, "b": 3}}
    tallies = {"a": up(4), "b": Tally(live=2, wanted=2, ready=2)}
    half = {"a": 5000, "b": 5000}
    at_once = look(seen(up(3), half, **back, applied=False), state)
    assert (at_once.weights, at_once.counts) == (ALL_ON_A, {"a": 4, "b": 3})
    died = look(seen(up(3), ALL_ON_A, **back, applied=False, tallies=tallies), state)
    assert died.counts == {"a": 4, "b": 2}, "what is refused is not started anew"
    assert look(seen(up(3), ALL_ON_A, **back), state).counts == {"a": 4}


def test_what_is_waited_for_on_the_way_back_is_told_once() -> None:
    """While the last tasks leave, the table changes with each of them: all traffic is back."""
    state = rollout(phase=RolloutPhase.ROLLING_BACK, step=3)
    half = seen(up(3), {"a": 5000, "b": 5000}, target="a", counts={"a": 4, "b": 3}, applied=False)
    assert look(half, state).reason == "a gets all traffic: waits until every node gives it"
    for applied in (True, False):
        gone = seen(up(1), ALL_ON_A, target="a", counts={"a": 4}, applied=applied)
        assert look(gone, state).reason == "1 task of what is left has still to end"


def test_a_stable_revision_that_has_nothing_ready_does_not_take_the_traffic_back_yet() -> None:
    state = rollout(phase=RolloutPhase.ROLLING_BACK)
    half = {"a": 5000, "b": 5000}
    tallies = {"a": Tally(live=4, wanted=4), "b": up(3)}
    found = look(seen(up(3), half, target="a", tallies=tallies, counts={"a": 4, "b": 3}), state)
    assert (found.weights, found.counts) == (half, {"a": 4, "b": 3})


def test_nothing_wanted_skips_the_steps() -> None:
    found = look(seen(Tally(), {}, 0, tallies={}, counts={}))
    assert found.counts == {}
    assert found.weights == {"b": 10_000}
    assert isinstance(found.state.target, str)
    assert RevisionId("b") == found.state.target


GROUP = Matcher(header="x-group", exact="b")
STEERED = (SetMatch(any_of=(GROUP,)), SetMirror(share=100), SetMatch(), Pause())
MATCHED = Steering(matches=(GROUP,), matched=RevisionId("b"))
BOTH = msgspec.structs.replace(MATCHED, mirror=100, mirrored=RevisionId("b"))


def test_requests_are_steered_when_the_tasks_are_there_until_the_next_that_says_so() -> None:
    assert look(seen(up(1, 0), {}), steps=STEERED).steering == Steering()
    first = look(seen(up(1), ALL_ON_A), steps=STEERED)
    assert (first.steering, first.weights, first.state.step) == (MATCHED, ALL_ON_A, 0)
    waiting = look(seen(up(1), ALL_ON_A, steering=MATCHED, applied=False), steps=STEERED)
    assert (waiting.steering, waiting.state.step) == (MATCHED, 0)
    second = look(seen(up(1), ALL_ON_A, steering=MATCHED), steps=STEERED)
    assert (second.steering, second.state.step) == (BOTH, 1)
    third = look(seen(up(1), ALL_ON_A, steering=BOTH), rollout(step=1), STEERED)
    only = Steering(mirror=100, mirrored=RevisionId("b"))
    assert (third.steering, third.state.step) == (only, 2)
    assert look(seen(up(1), ALL_ON_A, steering=only), rollout(step=2), STEERED).state.waits


def test_who_takes_over_or_is_taken_back_is_steered_to_no_more() -> None:
    over = rollout(step=len(STEERED))
    first = look(seen(up(4), ALL_ON_A, steering=BOTH), over, STEERED)
    assert (first.steering, first.weights, first.done) == (Steering(), {"b": 10_000}, False)
    assert look(seen(up(4), {"b": 10_000}), over, STEERED).done
    assert not look(seen(up(4), {"b": 10_000}, steering=BOTH), over, STEERED).done
    lost = look(seen(up(4, 3), {"b": 10_000}), over, STEERED)
    assert lost.steering == Steering()
    back = look(seen(up(1), ALL_ON_A, target="a", steering=BOTH), steps=STEERED)
    assert (back.steering, back.counts) == (Steering(), {"a": 4, "b": 1})
    other = seen(Tally(), ALL_ON_A, steering=BOTH, tallies={"a": up(4), "x": up(1)})
    assert look(other, steps=STEERED).steering == Steering()


def test_a_pause_begins_when_every_node_steers_as_its_steps_say() -> None:
    found = look(seen(up(1), ALL_ON_A), rollout(step=3), (*STEERED[:2], Pause(), Pause()))
    assert (found.steering, found.state.waits) == (BOTH, False)


def test_a_smaller_weight_is_set_at_once_and_the_tasks_go_when_every_node_has_it() -> None:
    half, part = {"a": 5000, "b": 5000}, {"a": 9500, "b": 500}
    first = look(seen(up(2, 0), half))
    assert (first.weights, first.counts) == (part, {"a": 4, "b": 2})
    assert look(seen(up(2), part, applied=False)).counts == {"a": 4, "b": 2}
    assert look(seen(up(2), part)).counts == {"a": 4, "b": 1}
