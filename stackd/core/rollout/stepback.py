"""`on_failure: step_back`: a canary that failed goes on from the weight before.

Called by `ending`.
"""

import msgspec

from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import SetWeight, Strategy
from stackd.core.model.traffic import TOTAL
from stackd.core.rollout import steps
from stackd.core.rollout.common import awake


def back(policy: Strategy, rollout: Rollout, now: float) -> Rollout | None:
    """The rollout at the last step with a smaller weight than it has, failures and analyses begun
    anew; None where there is none, or after a second failure at the same step."""
    todo = steps.of(policy)
    weights = {at: step.weight for at, step in enumerate(todo) if isinstance(step, SetWeight)}
    reached = [weight for at, weight in weights.items() if at <= rollout.step]
    weight = TOTAL if rollout.step >= len(todo) else max(reached, default=0)
    before = [at for at, less in weights.items() if at < rollout.step and less < weight]
    if not before or rollout.step in rollout.fell:
        return None
    return msgspec.structs.replace(
        awake(rollout),
        step=max(before),
        arrived=0,
        confirmed=max(before) + 1,
        fell=(*rollout.fell, rollout.step),
        attempt=rollout.attempt + 1,
        failures=0,
        moved=now,
        deadline_left=policy.progress_deadline,
    )
