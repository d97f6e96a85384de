"""How a rollout ends: it is complete, it turns back, or it is given up.

Called by `service` and `settled`; `turn_back` also by `commands`.
"""

import msgspec

from stackd.core.model.release import Hold
from stackd.core.model.rollout import Rollout, RolloutPhase, ToggleState
from stackd.core.model.strategy import OnFailure
from stackd.core.rollout import stepback, steps
from stackd.core.rollout.common import awake
from stackd.core.rollout.look import Look

KEPT_PROVEN = 10


def complete(look: Look, rollout: Rollout) -> None:
    """The rollout has got where it went: the target is stable, or the way back is over."""
    state, now = look.state, look.draft.now
    if rollout.phase is RolloutPhase.ROLLING_BACK:
        hold = look.world.get(Hold, f"{state.key}/{rollout.target}")
        reason = hold.reason if hold else rollout.reason
        look.tell("rolled_back", f"{rollout.target} -> {state.stable}: {reason}", rollout.cause)
        look.put(
            msgspec.structs.replace(
                rollout, phase=RolloutPhase.ABORTED, ended=now, reason=reason, paused_until=0
            )
        )
        return
    target = rollout.target
    done = "is reached" if isinstance(state, ToggleState) else "runs in full"
    look.tell("completed", f"{target} {done}", rollout.cause)
    proven = (target, *(r for r in state.proven if r != target))[:KEPT_PROVEN]
    look.state = msgspec.structs.replace(
        state, stable=target, proven=proven, **_kept_warm(look, target)
    )
    look.put(
        msgspec.structs.replace(
            rollout, phase=RolloutPhase.COMPLETE, ended=now, reason="", paused_until=0
        )
    )


def _kept_warm(look: Look, target: str) -> dict[str, object]:
    """The fields that keep the replaced revision for a while."""
    state, policy = look.state, look.case.spec.strategy
    old = state.stable
    keeps = policy.kind.weighted and policy.scale_down_delay > 0 and old in state.counts
    held = look.world.get(Hold, f"{look.name}/{old}") is not None
    if not keeps or held or old == target:
        return {}
    return {"warm": old, "warm_left": policy.scale_down_delay, "warm_at": look.draft.now}


def fail(look: Look, rollout: Rollout, why: str, action: OnFailure) -> None:
    """What a rollout that cannot go on does; a way back that cannot go on is given up."""
    now, state = look.draft.now, look.state
    if rollout.phase is RolloutPhase.ROLLING_BACK:
        reason = f"going back to {state.stable} failed too: {why}"
        look.tell("failed", reason, rollout.cause)
        look.put(
            msgspec.structs.replace(
                rollout, phase=RolloutPhase.FAILED, ended=now, reason=reason, paused_until=0
            )
        )
        return
    event = look.tell("failed", why, rollout.cause)
    first = state.stable is None
    if action is OnFailure.STEP_BACK and not first:
        policy = look.case.policy
        lower = stepback.back(policy, rollout, now)
        if lower is not None:
            number, todo = lower.step, steps.of(policy)
            text = f"to step {number + 1} of {len(todo)}: {todo[number].words}"
            look.tell("stepped_back", text, event.id)
            look.put(msgspec.structs.replace(lower, reason=why))
            return
    if action in (OnFailure.PAUSE, OnFailure.CONTINUE) and not first:
        look.put(msgspec.structs.replace(rollout, phase=RolloutPhase.PAUSED, reason=why))
        return
    look.also.append(
        Hold(
            stack=state.stack,
            service=state.service,
            revision=rollout.target,
            reason=why,
            at=now,
            by="rollout",
        )
    )
    look.put(
        msgspec.structs.replace(rollout, phase=RolloutPhase.FAILED, ended=now, reason=why)
        if first
        else turn_back(rollout, look.case.spec.rollback.progress_deadline, now, why, event.id)
    )


def turn_back(rollout: Rollout, deadline: float, now: float, why: str, cause: str) -> Rollout:
    """The rollout on its way back to the stable revision."""
    return msgspec.structs.replace(
        awake(rollout),
        phase=RolloutPhase.ROLLING_BACK,
        reason=why,
        moved=now,
        deadline_left=deadline,
        paused_until=0,
        best=-1_000_000,
        updated=-1,
        arrived=0,
        cause=cause,
    )
