"""A new revision that is shown requests and answers nobody."""

import pytest

from stackd.core.model.analysis import AnalysisPolicy, Verdict
from stackd.core.model.ids import RevisionId
from stackd.core.model.strategy import Amount, Analyse, SetMirror, SetScale, Strategy, StrategyKind
from stackd.core.model.traffic import Steering
from stackd.core.rollout import asked, shadow, steps
from tests.unit.core.rollout.cases import NOW, rollout, said, up
from tests.unit.core.rollout.test_weighted import ALL_ON_A, seen

JUDGED = AnalysisPolicy(interval=5.0)
MIRRORED = Steering(mirror=2_550, mirrored=RevisionId("b"))


def policy(**fields: object) -> Strategy:
    base = {"kind": StrategyKind.SHADOW, "mirror": 2_550, "duration": 90.0, "analysis": JUDGED}
    return Strategy(**{**base, **fields})  # type: ignore[arg-type]


def test_it_is_as_large_as_its_share_and_judged_beside_all_steps() -> None:
    assert list(steps.of(policy())) == [
        SetScale(tasks=Amount(value=26, percent=True)),
        SetMirror(share=2_550),
        Analyse(policy=JUDGED, called="background", seconds=90.0),
    ]
    going = rollout(source=RevisionId("a"), step=2, judges=True)
    assert asked.analyses(policy(), going) == {"background": JUDGED}
    assert asked.analyses(policy(analysis=None), going) == {"background": AnalysisPolicy()}


@pytest.mark.parametrize(("mirror", "tasks"), [(1, 1), (2_500, 1), (2_501, 2), (10_000, 4)])
def test_tasks_for_the_share(mirror: int, tasks: int) -> None:
    found = shadow.step(policy(mirror=mirror), rollout(), seen(up(0), {}), NOW)
    assert (found.counts, found.weights) == ({"a": 4, "b": tasks}, ALL_ON_A)


def test_nobody_gets_its_answers_until_it_has_been_judged_for_long_enough() -> None:
    shown = shadow.step(policy(), rollout(), seen(up(2), ALL_ON_A), NOW)
    assert (shown.steering, shown.weights, shown.state.step) == (MIRRORED, ALL_ON_A, 1)
    answers = {"background": said(Verdict.PASS, final=False)}
    passing = seen(up(2), ALL_ON_A, steering=MIRRORED, answers=answers)
    early = shadow.step(policy(), shown.state, passing, NOW)
    assert (early.state.step, early.weights, early.wake_at) == (2, ALL_ON_A, NOW + 90)
    over = rollout(step=2, judges=True, pause_left=1.0, pause_at=NOW - 2)
    grows = shadow.step(policy(), over, passing, NOW)
    assert (grows.state.step, grows.counts) == (3, {"a": 4, "b": 4})
    assert (grows.weights, grows.steering) == (ALL_ON_A, MIRRORED)
    whole = seen(up(4), ALL_ON_A, steering=MIRRORED, answers=answers)
    takes = shadow.step(policy(), grows.state, whole, NOW)
    assert (takes.weights, takes.steering) == ({"b": 10_000}, Steering())
