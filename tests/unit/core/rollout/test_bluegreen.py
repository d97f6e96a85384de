"""What is done before the switch."""

import pytest

from stackd.core.model.analysis import AnalysisPolicy, Verdict
from stackd.core.model.ids import RevisionId
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Pause,
    Preview,
    RolloutStep,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.traffic import Steering
from stackd.core.rollout import asked, bluegreen, steps
from tests.unit.core.rollout.cases import NOW, rollout, said, up
from tests.unit.core.rollout.test_weighted import seen

WHOLE = SetScale(tasks=Amount(value=100, percent=True))
BEFORE, AFTER = AnalysisPolicy(interval=5.0), AnalysisPolicy(interval=20.0)
ALL_ON_A, ALL_ON_B = {"a": 10_000}, {"b": 10_000}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [WHOLE]),
        ({"auto_promote_after": 300.0}, [WHOLE, Pause(seconds=300.0)]),
        ({"auto_promote": False}, [WHOLE, Pause()]),
        ({"pre_promotion": BEFORE}, [WHOLE, Analyse(policy=BEFORE, called="pre_promotion")]),
        (
            {"post_promotion": AFTER, "auto_promote": False},
            [
                WHOLE,
                Pause(),
                SetWeight(weight=10_000),
                Analyse(policy=AFTER, called="post_promotion"),
            ],
        ),
    ],
)
def test_green_is_whole_before_the_switch(
    fields: dict[str, object], expected: list[RolloutStep]
) -> None:
    policy = Strategy(kind=StrategyKind.BLUE_GREEN, **fields)  # type: ignore[arg-type]
    assert list(bluegreen.steps(policy)) == expected
    assert list(steps.of(policy)) == expected


@pytest.mark.parametrize("kind", [StrategyKind.ROLLING, StrategyKind.RECREATE])
def test_others_have_no_steps(kind: StrategyKind) -> None:
    assert steps.of(Strategy(kind=kind, steps=(Pause(),))) == ()


def test_green_is_shown_when_it_is_whole_until_the_switch() -> None:
    preview = Preview(published=8081)
    policy = Strategy(
        kind=StrategyKind.BLUE_GREEN, preview=preview, auto_promote=False, post_promotion=AFTER
    )
    shown = Steering(preview=preview, previewed=RevisionId("b"))
    grows = bluegreen.step(policy, rollout(), seen(up(3), ALL_ON_A), NOW)
    assert grows.steering == Steering()
    whole = bluegreen.step(policy, rollout(), seen(up(4), ALL_ON_A), NOW)
    assert (whole.steering, whole.state.waits) == (shown, False)
    applied = seen(up(4), ALL_ON_A, steering=shown)
    assert bluegreen.step(policy, whole.state, applied, NOW).state.waits
    switched = bluegreen.step(policy, rollout(step=2), applied, NOW)
    assert (switched.weights, switched.steering) == (ALL_ON_B, Steering())
    assert switched.counts == {"a": 4, "b": 4}


def test_blue_stays_whole_until_green_has_passed_after_the_switch() -> None:
    policy = Strategy(kind=StrategyKind.BLUE_GREEN, post_promotion=AFTER)
    switched = seen(up(4), ALL_ON_B)
    judged = bluegreen.step(policy, rollout(step=1), switched, NOW)
    assert (judged.state.step, judged.state.judges, judged.done) == (2, True, False)
    assert judged.counts == {"a": 4, "b": 4}
    going = rollout(source=RevisionId("a"), step=2, judges=True)
    assert asked.analyses(policy, going) == {"post_promotion": AFTER}
    answers = {"post_promotion": said(Verdict.PASS)}
    passed = bluegreen.step(policy, going, seen(up(4), ALL_ON_B, answers=answers), NOW)
    assert passed.done
