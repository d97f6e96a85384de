"""How a service goes from one revision to another: counts and weights, never tasks.

`service.decide` is the decider of the rollouts loop; `STRATEGIES` is the registry of the pure
step functions; `commands` are what people may ask; `phase` and `outcome` tell where it stands.
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from stackd.core.model.stack import RolloutStep, Strategy, StrategyKind
from stackd.core.rollout import bluegreen, canary, recreate, rolling
from stackd.core.rollout.common import StrategyStep

STRATEGIES: Mapping[StrategyKind, StrategyStep] = {
    StrategyKind.ROLLING: rolling.step,
    StrategyKind.RECREATE: recreate.step,
    StrategyKind.CANARY: canary.step,
    StrategyKind.BLUE_GREEN: bluegreen.step,
}
"""Every strategy: policy, rollout, what is observed, now -> the next counts and weights."""


def steps(policy: Strategy) -> Sequence[RolloutStep]:
    """The steps of a strategy that has such."""
    match policy.kind:
        case StrategyKind.CANARY:
            return canary.steps(policy)
        case StrategyKind.BLUE_GREEN:
            return bluegreen.steps(policy)
        case StrategyKind.ROLLING | StrategyKind.RECREATE:
            return ()
        case never:
            assert_never(never)
