"""A/B: some users get the new revision, each always the same one, until a person promotes it or
aborts."""

from collections.abc import Sequence

import msgspec

from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import (
    Amount,
    Pause,
    RolloutStep,
    SetMatch,
    SetScale,
    SetWeight,
    Strategy,
)
from stackd.core.rollout import weighted
from stackd.core.rollout.common import Observed, Step, awake

_SPLIT = 2
"""The step that sets the share."""


def steps(policy: Strategy) -> Sequence[RolloutStep]:
    """Always four, so that an edit of the file changes what they say and not where the rollout
    is. How many requests match nobody knows: then the new revision is as large as the old one."""
    percent = 100 if policy.match else -(-policy.split // 100)
    return (
        SetScale(tasks=Amount(value=percent, percent=True)),
        SetMatch(any_of=policy.match),
        SetWeight(weight=policy.split),
        Pause(),
    )


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts, weights and matches; a share that was edited is set anew."""
    todo = steps(policy)
    share = observed.weights.get(observed.target, 0)
    if state.step == _SPLIT + 1 and share != policy.split and observed.target != observed.stable:
        state = msgspec.structs.replace(awake(state), step=_SPLIT)
    return weighted.step(todo, policy, state, observed, now)
