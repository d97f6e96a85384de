"""Blue-green: the new revision (green) comes up at full size beside the old one (blue) without any
traffic, and gets all of it at once: by itself, after a time, or when a person promotes."""

from collections.abc import Sequence

from stackd.core.model.rollout import Rollout
from stackd.core.model.stack import Amount, Pause, RolloutStep, SetScale, Strategy
from stackd.core.rollout import weighted
from stackd.core.rollout.common import Observed, Step

_WHOLE = SetScale(tasks=Amount(value=100, percent=True))


def steps(policy: Strategy) -> Sequence[RolloutStep]:
    """What is done before the switch."""
    if not policy.auto_promote:
        return (_WHOLE, Pause())
    if policy.auto_promote_after:
        return (_WHOLE, Pause(seconds=policy.auto_promote_after))
    return (_WHOLE,)


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts and weights of a change to `observed.target` with one switch."""
    return weighted.step(steps(policy), policy, state, observed, now)
