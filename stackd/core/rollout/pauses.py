"""What a rollout's record says of where it stands: under way, in a pause or an analysis, or waiting
for its group.

Used by what moves a rollout and by what tells of it.
"""

from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState

ACTIVE = (
    RolloutPhase.WAITING,
    RolloutPhase.PROGRESSING,
    RolloutPhase.PAUSED,
    RolloutPhase.ROLLING_BACK,
)
STORE_EVERY = 5.0
"""Seconds between writes of the time left."""
LOOKED = STORE_EVERY + 1
"""Seconds of a pause that can pass between two looks: time in which no manager looked does not
shorten it."""


def pause_left(rollout: Rollout, now: float) -> float:
    """Seconds left of the pause that the current step is; 0 when it is none."""
    if not rollout.pause_at:
        return 0.0
    if rollout.phase is RolloutPhase.PAUSED:
        return rollout.pause_left
    return rollout.pause_left - min(max(now - rollout.pause_at, 0.0), LOOKED)


def warm_left(state: ServiceState, now: float) -> float:
    """Seconds until the replaced revision stops; below 0 = it is overdue."""
    return state.warm_left - min(max(now - state.warm_at, 0.0), LOOKED)


def promotable(rollout: Rollout) -> bool:
    """A person may end what the current step waits for: a gate, a pause, or an analysis that could
    not decide."""
    return rollout.gated or rollout.waits or (rollout.pause_at > 0 and not rollout.judges)


def resting(rollout: Rollout) -> bool:
    """It is in a pause or an analysis, or waits for its group or a gate: that nothing moves is
    meant so."""
    return halted(rollout) or grouped(rollout) or rollout.gated or rollout.stands


def halted(rollout: Rollout) -> bool:
    """The pause or the analysis that its current step is has begun."""
    return rollout.waits or rollout.pause_at > 0 or rollout.judges


def grouped(rollout: Rollout) -> bool:
    """It has done its step and waits for its group."""
    return rollout.arrived > rollout.step
