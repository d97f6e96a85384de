"""Recreate: every old task goes and has ended before the first new one comes."""

import msgspec

from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Strategy
from stackd.core.rollout.common import Observed, Step


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts of a change to `observed.target` without two revisions at a time."""
    del policy, now
    target = observed.target
    new = observed.tally(target)
    state = msgspec.structs.replace(state, updated=new.available)
    old = sum(observed.existing(r) for r in observed.revisions)
    if old:
        reason = "1 old task has still to end" if old == 1 else f"{old} old tasks have still to end"
        kept = min(observed.counts.get(target, 0), observed.wanted)
        counts = {target: kept} if kept else {}
        return Step(state, counts, None, reason, done=observed.complete)
    counts = {target: observed.wanted} if observed.wanted else {}
    reason = f"{new.available} of {observed.wanted} tasks updated"
    return Step(state, counts, new.next_available, reason, done=observed.complete)
