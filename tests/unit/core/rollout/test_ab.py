"""Two variants, each user with one of them."""

import pytest

from stackd.core.model.ids import RevisionId
from stackd.core.model.strategy import Matcher, Strategy, StrategyKind
from stackd.core.model.traffic import Steering
from stackd.core.rollout import ab, steps
from tests.unit.core.rollout.cases import NOW, rollout, up
from tests.unit.core.rollout.test_weighted import ALL_ON_A, seen

GROUP = Matcher(cookie="group", exact="b")
ORDER = (RevisionId("a"), RevisionId("b"))
STICKY = Steering(sticky=True, order=ORDER)
SPLIT = {"a": 8_000, "b": 2_000}


def policy(split: int = 2_000, *match: Matcher) -> Strategy:
    return Strategy(kind=StrategyKind.AB, split=split, match=match)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (policy(), ["set_scale 20%", "no match", "set_weight 20%", "pause until promoted"]),
        (
            policy(0, GROUP),
            ["set_scale 100%", "match cookie group=b", "set_weight 0%", "pause until promoted"],
        ),
    ],
)
def test_its_steps(given: Strategy, words: list[str]) -> None:
    assert [step.words for step in steps.of(given)] == words


def test_users_keep_their_variant_until_one_is_promoted() -> None:
    first = ab.step(policy(), rollout(), seen(up(1), ALL_ON_A), NOW)
    assert (first.weights, first.steering, first.state.step) == (SPLIT, STICKY, 2)
    waits = ab.step(policy(), first.state, seen(up(1), SPLIT, steering=STICKY), NOW)
    assert (waits.state.step, waits.state.waits, waits.steering) == (3, True, STICKY)
    grows = ab.step(policy(), rollout(step=4), seen(up(1), SPLIT, steering=STICKY), NOW)
    assert (grows.counts, grows.weights, grows.steering) == ({"a": 4, "b": 4}, SPLIT, STICKY)
    takes = ab.step(policy(), rollout(step=4), seen(up(4), SPLIT, steering=STICKY), NOW)
    assert (takes.weights, takes.steering) == ({"b": 10_000}, Steering())


def test_matches_alone_leave_all_others_where_they_are() -> None:
    found = ab.step(policy(0, GROUP), rollout(), seen(up(4), ALL_ON_A), NOW)
    matched = Steering(matches=(GROUP,), matched=RevisionId("b"))
    assert (found.weights, found.steering) == (ALL_ON_A, matched)
    waits = ab.step(policy(0, GROUP), found.state, seen(up(4), ALL_ON_A, steering=matched), NOW)
    assert waits.state.waits


def test_an_edited_share_is_set_anew_once_the_tasks_for_it_are_there() -> None:
    waiting = rollout(step=3, waits=True)
    grown = ab.step(policy(6_000), waiting, seen(up(1), SPLIT, steering=STICKY), NOW)
    assert (grown.counts, grown.weights) == ({"a": 4, "b": 3}, SPLIT)
    assert (grown.state.step, grown.state.waits, grown.steering) == (2, False, STICKY)
    more = ab.step(policy(6_000), grown.state, seen(up(3), SPLIT, steering=STICKY), NOW)
    assert more.weights == {"a": 4_000, "b": 6_000}
    less = ab.step(policy(500), waiting, seen(up(1), SPLIT, steering=STICKY), NOW)
    assert less.weights == {"a": 9_500, "b": 500}


def test_on_the_way_back_nothing_is_set_anew() -> None:
    back = seen(up(1), ALL_ON_A, target="a", counts={"a": 4, "b": 1}, steering=STICKY)
    found = ab.step(policy(), rollout(step=3), back, NOW)
    assert (found.weights, found.steering) == (ALL_ON_A, Steering())
