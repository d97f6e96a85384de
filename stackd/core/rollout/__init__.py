"""How a service goes from one revision to another: counts and weights, never tasks.

`service.decide` is the decider of the rollouts loop; `STRATEGIES` is the registry of the pure
step functions; `commands` are what people may ask; `phase` and `outcome` tell where it stands.
"""

from collections.abc import Mapping

from stackd.core.model.strategy import StrategyKind
from stackd.core.rollout import ab, bluegreen, canary, recreate, rolling, shadow, staged
from stackd.core.rollout.common import StrategyStep

STRATEGIES: Mapping[StrategyKind, StrategyStep] = {
    StrategyKind.ROLLING: rolling.step,
    StrategyKind.RECREATE: recreate.step,
    StrategyKind.CANARY: canary.step,
    StrategyKind.BLUE_GREEN: bluegreen.step,
    StrategyKind.SHADOW: shadow.step,
    StrategyKind.AB: ab.step,
    StrategyKind.STAGED: staged.step,
}
"""Every strategy: policy, rollout, what is observed, now -> the next counts and weights."""
