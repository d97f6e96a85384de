"""The steps of a strategy, for `status` and whoever shows them."""

from collections.abc import Sequence
from typing import assert_never

from stackd.core.model.strategy import RolloutStep, Strategy, StrategyKind
from stackd.core.rollout import ab, bluegreen, canary, shadow

TAKE_OVER = "take over"


def words(policy: Strategy) -> tuple[str, ...]:
    """The steps and what follows them, as people are told; a toggle ends with its last step."""
    found = tuple(step.words for step in of(policy))
    return found if policy.kind is StrategyKind.STAGED else (*found, TAKE_OVER)


def of(policy: Strategy) -> Sequence[RolloutStep]:
    """What a rollout does before the new revision takes over; nothing for those without steps."""
    match policy.kind:
        case StrategyKind.CANARY:
            return canary.steps(policy)
        case StrategyKind.BLUE_GREEN:
            return bluegreen.steps(policy)
        case StrategyKind.SHADOW:
            return shadow.steps(policy)
        case StrategyKind.AB:
            return ab.steps(policy)
        case StrategyKind.STAGED:
            return policy.steps
        case StrategyKind.ROLLING | StrategyKind.RECREATE:
            return ()
        case never:
            assert_never(never)
