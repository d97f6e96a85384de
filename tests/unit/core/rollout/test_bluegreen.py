"""What is done before the switch."""

import pytest

from stackd.core.model.stack import Amount, Pause, RolloutStep, SetScale, Strategy, StrategyKind
from stackd.core.rollout import bluegreen, steps

WHOLE = SetScale(tasks=Amount(value=100, percent=True))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [WHOLE]),
        ({"auto_promote_after": 300.0}, [WHOLE, Pause(seconds=300.0)]),
        ({"auto_promote": False}, [WHOLE, Pause()]),
    ],
)
def test_green_is_whole_before_the_switch(
    fields: dict[str, float], expected: list[RolloutStep]
) -> None:
    policy = Strategy(kind=StrategyKind.BLUE_GREEN, **fields)  # type: ignore[arg-type]
    assert list(bluegreen.steps(policy)) == expected
    assert list(steps.of(policy)) == expected


@pytest.mark.parametrize("kind", [StrategyKind.ROLLING, StrategyKind.RECREATE])
def test_others_have_no_steps(kind: StrategyKind) -> None:
    assert steps.of(Strategy(kind=kind, steps=(Pause(),))) == ()
