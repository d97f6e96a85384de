"""From which step a canary that failed goes on."""

import pytest

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.strategy import Analyse, Pause, SetWeight, Strategy, StrategyKind
from stackd.core.rollout.stepback import back
from tests.unit.core.rollout.cases import NOW, rollout

JUDGED = Analyse(policy=AnalysisPolicy())
STEPS = (SetWeight(weight=500), JUDGED, SetWeight(weight=2_000), Pause(), SetWeight(weight=5_000))


@pytest.mark.parametrize(
    ("failed", "again"),
    [(0, None), (1, None), (2, 0), (3, 0), (4, 2), (5, 4)],
)
def test_the_last_smaller_weight(failed: int, again: int | None) -> None:
    policy = Strategy(kind=StrategyKind.CANARY, steps=STEPS, progress_deadline=99.0)
    state = rollout(step=failed, waits=True, judges=True, failures=2, deadline_left=0.0)
    found = back(policy, state, NOW + 5)
    if again is None:
        assert found is None
        return
    assert found is not None
    assert (found.step, found.waits, found.judges, found.failures) == (again, False, False, 0)
    assert (found.fell, found.attempt) == ((failed,), 1)
    assert (found.moved, found.deadline_left) == (NOW + 5, 99.0)


def test_not_twice_from_the_same_step() -> None:
    policy = Strategy(kind=StrategyKind.CANARY, steps=STEPS)
    assert back(policy, rollout(step=4, fell=(4,)), NOW) is None
    assert back(policy, rollout(step=3, fell=(4,)), NOW) is not None


def test_a_whole_weight_that_is_a_step_is_not_gone_back_to_from_itself() -> None:
    whole = Strategy(kind=StrategyKind.CANARY, steps=(SetWeight(weight=10_000), JUDGED))
    for step in (0, 1, 2):
        assert back(whole, rollout(step=step), NOW) is None
