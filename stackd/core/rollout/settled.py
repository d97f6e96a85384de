"""Counts and weights of a service whose rollout stands still or is over, at the present scale.

Called by `service` at the end of each look.
"""

from collections.abc import Mapping

import msgspec

from stackd.core.model import fit
from stackd.core.model.draft import earliest
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Hold
from stackd.core.model.rollout import Rollout, RolloutPhase
from stackd.core.model.stack import Mode
from stackd.core.model.traffic import TOTAL
from stackd.core.rollout.common import EVERYWHERE, UNSTEERED
from stackd.core.rollout.ending import complete
from stackd.core.rollout.look import Look, observed_now
from stackd.core.rollout.pauses import ACTIVE, STORE_EVERY, warm_left


def settle(look: Look) -> None:
    """Counts when no strategy moves them: all of one revision, also after a change of scale."""
    rollout, state = look.state.rollout, look.state
    active = rollout is not None and rollout.phase in ACTIVE
    if rollout is not None and rollout.phase in (RolloutPhase.PAUSED, RolloutPhase.WAITING):
        weights, steering = state.weights, state.steering
        if rollout.phase is RolloutPhase.WAITING:  # what was superseded has none meanwhile
            steering = UNSTEERED
            weights = {state.stable: TOTAL} if state.stable and weights else weights
        look.state = msgspec.structs.replace(
            state, counts=_rescaled(look), weights=weights, steering=steering
        )
        return
    if active or rollout is None:
        return
    if rollout.phase is RolloutPhase.FAILED and state.stable is None:
        _recovered(look, rollout)
        state = look.state
    keep = state.stable or rollout.target
    counts = dict(_all(look, keep))
    _cool(look, needed=bool(counts))
    if look.state.warm is not None:
        counts[look.state.warm] = counts[keep]
    look.state = msgspec.structs.replace(
        look.state, counts=counts, weights=_settled_weights(look, keep), steering=UNSTEERED
    )


def _settled_weights(look: Look, keep: str) -> Mapping[str, int]:
    """All to the revision that stays while any other has tasks left; then none are needed."""
    tasks = look.world.tasks_of(look.state.stack, look.state.service)
    others = look.state.warm or any(v.live and v.task.revision != keep for v in tasks)
    return {keep: TOTAL} if look.state.weights and others else {}


def _cool(look: Look, *, needed: bool) -> None:
    """Let the replaced revision go when its time is over; the time is written every 5 s."""
    state, now = look.state, look.draft.now
    if state.warm is None:
        return
    passed = now - state.warm_at
    left = warm_left(state, now)
    held = look.world.get(Hold, f"{look.name}/{state.warm}") is not None
    if left <= 0 or held or not needed or look.case.spec.mode is Mode.GLOBAL:
        over = "scale_down_delay is over" if needed else "no task is wanted"
        why = "it is refused" if held else over
        look.tell("retired", f"{state.warm} stops: {why}")
        look.state = msgspec.structs.replace(state, warm=None, warm_left=0, warm_at=0)
        return
    if not 0 <= passed < STORE_EVERY:
        look.state = state = msgspec.structs.replace(state, warm_left=left, warm_at=now)
    look.wake_at = earliest(look.wake_at, now + min(left, STORE_EVERY))


def _all(look: Look, revision: str) -> Mapping[str, int]:
    spec = look.case.spec
    if spec.mode is Mode.GLOBAL:
        return {revision: EVERYWHERE}
    wanted = fit.replicas(look.world, look.state.stack, spec)
    return {revision: wanted} if wanted else {}


def _recovered(look: Look, rollout: Rollout) -> None:
    """A first rollout that failed, whose tasks have come up after all: it is done."""
    observed = observed_now(look, rollout.target)
    if observed.complete and observed.wanted and look.case.declared == rollout.target:
        look.also.append(Delete(ref=ref(Hold, f"{look.name}/{rollout.target}")))
        complete(look, rollout)
    elif not observed.complete:
        again = look.draft.now + STORE_EVERY if observed.blocked else None
        soon = observed.tally(rollout.target).next_available
        look.wake_at = earliest(look.wake_at, earliest(soon, again))


def _rescaled(look: Look) -> Mapping[str, int]:
    """Counts of a rollout that stands still, at the present scale."""
    state, rollout = look.state, look.state.rollout
    assert rollout is not None
    if len(state.counts) == 1:
        return _all(look, next(iter(state.counts)))
    observed = observed_now(look, rollout.target)
    counts = dict(observed.counts)
    if look.case.policy.kind.weighted and state.stable:
        whole = {r: min(n, observed.wanted) for r, n in counts.items()}
        return {r: n for r, n in {**whole, state.stable: observed.wanted}.items() if n}
    base = state.stable or str(rollout.target)
    missing = observed.wanted - sum(counts.values())
    if missing > 0 and counts:
        counts[base] = counts.get(base, 0) + missing
    surplus = (
        sum(counts.values())
        - observed.wanted
        - look.case.policy.max_surge.of(observed.wanted, up=True)
    )
    for revision in sorted(counts, key=lambda r: r == base):
        cut = min(counts[revision], max(0, surplus))
        counts[revision] -= cut
        surplus -= cut
    return {r: n for r, n in counts.items() if n}
