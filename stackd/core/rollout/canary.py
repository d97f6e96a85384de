"""Canary: the new revision gets more and more of the traffic, step by step."""

from collections.abc import Sequence

from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import RolloutStep, Strategy
from stackd.core.rollout import weighted
from stackd.core.rollout.common import Observed, Step


def steps(policy: Strategy) -> Sequence[RolloutStep]:
    """What is done before the new revision takes over."""
    return policy.steps


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts and weights of a canary to `observed.target`."""
    return weighted.step(steps(policy), policy, state, observed, now)
