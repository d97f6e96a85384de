"""Blue-green: the new revision (green) comes up at full size beside the old one (blue) without any
traffic, and gets all of it at once: by itself, after a time, or when a person promotes."""

from collections.abc import Sequence

from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Pause,
    RolloutStep,
    SetScale,
    SetWeight,
    Strategy,
)
from stackd.core.model.traffic import TOTAL
from stackd.core.rollout import weighted
from stackd.core.rollout.common import Observed, Step

_WHOLE = SetScale(tasks=Amount(value=100, percent=True))


def steps(policy: Strategy) -> Sequence[RolloutStep]:
    """What is done before green has taken over: the switch is one of them where blue has to stay
    whole after it, until green has passed an analysis."""
    found: list[RolloutStep] = [_WHOLE]
    if policy.pre_promotion is not None:
        found.append(Analyse(policy=policy.pre_promotion, called="pre_promotion"))
    if not policy.auto_promote:
        found.append(Pause())
    elif policy.auto_promote_after:
        found.append(Pause(seconds=policy.auto_promote_after))
    if policy.post_promotion is not None:
        found.append(SetWeight(weight=TOTAL))
        found.append(Analyse(policy=policy.post_promotion, called="post_promotion"))
    return found


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts and weights of a change to `observed.target` with one switch."""
    return weighted.step(steps(policy), policy, state, observed, now)
