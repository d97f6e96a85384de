"""One service's rollout, one look: what is wanted of each revision now, and what is told.

The decider of the rollouts loop (`manager.rollouts`); strategies move the counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from stackd.core.model import fit
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.event import Event
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Change, Delete, Put, Record, ref
from stackd.core.model.release import Hold, Override, Release, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.stack import Mode, OnFailure
from stackd.core.model.world import World
from stackd.core.rollout import STRATEGIES, depends, judge, removal
from stackd.core.rollout.choose import Case, next_target
from stackd.core.rollout.common import (
    ACTIVE,
    EVERYWHERE,
    LOOKED,
    STORE_EVERY,
    TOTAL,
    Observed,
    awake,
    observe,
    resting,
)

KEPT_PROVEN = 10
_ONGOING = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


@dataclass
class _Look:
    """One look at one service while it is being worked out."""

    world: World
    case: Case
    draft: Draft
    state: ServiceState
    also: list[Record | Change]
    """Events, holds and ended overrides that belong to the same write."""
    wake_at: float | None = None

    @property
    def name(self) -> str:
        return self.state.key

    def tell(self, verb: str, text: str, cause: str = "") -> Event:
        event = self.draft.event(f"rollout.{verb}", self.name, text, cause)
        self.also.append(event)
        return event

    def put(self, rollout: Rollout) -> None:
        self.state = msgspec.structs.replace(self.state, rollout=rollout)
        self.case = Case(
            self.case.release, self.case.spec, self.case.declared, self.state, self.case.hold
        )


def decide(world: World, stack: str, service: str, now: float, ids: Ids) -> Decision:
    """Take the service's rollout as far as it may go now."""
    draft = Draft(now, ids)
    release = world.release(stack)
    found = release.services.get(service) if release else None
    if release is None or found is None:
        return removal.service(world, stack, service, draft)
    key = service_key(stack, service)
    known = world.get(ServiceState, key)
    state = known or ServiceState(stack=stack, service=service)
    hold = world.get(Hold, f"{key}/{found.revision}")
    case = Case(release, found.spec, found.revision, state, hold)
    look = _Look(world, case, draft, state, [])
    _end_override(look)
    _start(look)
    _advance(look)
    _settle(look)
    if look.state != known or look.also:
        relies = [ref(Stack, stack), ref(Hold, f"{key}/{found.revision}"), ref(Override, key)]
        changes = [c if not isinstance(c, Record) else Put(record=c) for c in look.also]
        written = [Put(record=look.state), *changes] if look.state != known else changes
        draft.group(written, [r for r in relies if r not in _places(written)])
    return draft.decision(look.wake_at)


def _places(changes: Sequence[Change]) -> set[object]:
    return {c.ref if isinstance(c, Delete) else ref(type(c.record), c.record.key) for c in changes}


def _end_override(look: _Look) -> None:
    override = look.world.get(Override, look.name)
    if override is not None and override.declared != look.case.spec.replicas:
        look.also.append(Delete(ref=ref(Override, look.name)))


def _start(look: _Look) -> None:
    target = next_target(look.case)
    if target is None:
        return
    case, old = look.case, look.case.active
    cause = case.release.cause
    if old is not None:
        cause = look.tell("superseded", f"{old.target} by {target}", cause).id
    text = f"{case.state.stable} -> {target}" if case.state.stable else f"first: {target}"
    event = look.tell("started", text, cause)
    look.put(begin(look.draft, case.release, case.state, target, event.id))


def begin(
    draft: Draft, release: Release, state: ServiceState, target: RevisionId, cause: str
) -> Rollout:
    """A rollout that has not been looked at yet."""
    return Rollout(
        id=draft.ids(),
        target=target,
        source=state.stable,
        release=release.number,
        commit=release.commit,
        phase=RolloutPhase.WAITING,
        started=draft.now,
        moved=draft.now,
        deadline_left=release.services[state.service].spec.strategy.progress_deadline,
        by=release.by,
        cause=cause,
    )


def _advance(look: _Look) -> None:
    rollout = look.case.active
    if rollout is None:
        return
    look.state = msgspec.structs.replace(look.state, warm=None, warm_left=0, warm_at=0)
    if rollout.phase is RolloutPhase.WAITING:
        rollout = _gated(look, rollout)
    if rollout.phase not in _ONGOING:
        return
    back = rollout.phase is RolloutPhase.ROLLING_BACK
    target = look.state.stable if back and look.state.stable else rollout.target
    observed = _observe(look, target)
    policy = look.case.policy
    views = look.world.tasks_of(look.state.stack, look.state.service)
    if not policy.kind.weighted:
        rollout = awake(rollout)  # the strategy may have been changed while it paused
    if not resting(rollout):
        rollout = judge.tick(rollout, observed, policy, look.draft.now)
    if not back:
        rollout = judge.count_failures(rollout, views, look.case.spec)
        why = judge.too_many(rollout, policy, views, observed.wanted) or judge.refused(observed)
        if why and policy.on_failure is not OnFailure.CONTINUE:
            _fail(look, rollout, why, policy.on_failure)
            return _again(look)
    late = judge.left(rollout, look.draft.now) <= 0 and not resting(rollout)
    if late and not observed.complete:
        action = OnFailure.PAUSE if policy.on_failure is OnFailure.CONTINUE else policy.on_failure
        _fail(look, rollout, judge.stuck(observed, policy, views), action)
        return _again(look)
    _step(look, rollout, observed)
    return None


def _gated(look: _Look, rollout: Rollout) -> Rollout:
    found = depends.gate(look.world, look.case.release, look.case.spec, look.draft.now)
    if found is not None:
        waiting = msgspec.structs.replace(rollout, reason=found.reason)
        look.put(waiting)
        return waiting
    now = look.draft.now
    going = msgspec.structs.replace(
        rollout, phase=RolloutPhase.PROGRESSING, started=now, moved=now, reason=""
    )
    look.put(going)
    return going


def _observe(look: _Look, target: str) -> Observed:
    state = look.state
    return observe(look.world, state.stack, look.case.spec, state, target, look.draft.now)


def _again(look: _Look) -> None:
    """After a failure: the way back begins in the same write, so that nothing else is begun."""
    rollout = look.case.active
    if rollout is not None and rollout.phase is RolloutPhase.ROLLING_BACK:
        _step(look, rollout, _observe(look, look.state.stable or rollout.target))


def _step(look: _Look, rollout: Rollout, observed: Observed) -> None:
    strategy = STRATEGIES[look.case.policy.kind]
    before, at = rollout.updated, rollout.step
    step = strategy(look.case.policy, rollout, observed, look.draft.now)
    reason = f"{step.reason}; {observed.blocked}" if observed.blocked else step.reason
    rollout = msgspec.structs.replace(step.state, reason=reason)
    look.state = msgspec.structs.replace(look.state, counts=step.counts, weights=step.weights)
    look.put(rollout)
    if step.done:
        _complete(look, rollout)
        return
    if rollout.phase is RolloutPhase.PROGRESSING:
        if rollout.step != at:
            look.tell("step", step.told, rollout.cause)
        elif rollout.updated > before and not step.weights:
            look.tell("progress", step.reason, rollout.cause)
    tick = look.draft.now + STORE_EVERY
    look.wake_at = earliest(step.wake_at, tick)


def _complete(look: _Look, rollout: Rollout) -> None:
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
    look.tell("completed", f"{target} runs in full", rollout.cause)
    proven = (target, *(r for r in state.proven if r != target))[:KEPT_PROVEN]
    look.state = msgspec.structs.replace(
        state, stable=target, proven=proven, **_kept_warm(look, target)
    )
    look.put(
        msgspec.structs.replace(
            rollout, phase=RolloutPhase.COMPLETE, ended=now, reason="", paused_until=0
        )
    )


def _kept_warm(look: _Look, target: str) -> dict[str, object]:
    """The fields that keep the replaced revision for a while."""
    state, policy = look.state, look.case.spec.strategy
    old = state.stable
    keeps = policy.kind.weighted and policy.scale_down_delay > 0 and old in state.counts
    held = look.world.get(Hold, f"{look.name}/{old}") is not None
    if not keeps or held or old == target:
        return {}
    return {"warm": old, "warm_left": policy.scale_down_delay, "warm_at": look.draft.now}


def _fail(look: _Look, rollout: Rollout, why: str, action: OnFailure) -> None:
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
    if action is not OnFailure.ROLLBACK and not first:
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
        updated=0,
        cause=cause,
    )


def _settle(look: _Look) -> None:
    """Counts when no strategy moves them: all of one revision, also after a change of scale."""
    rollout, state = look.state.rollout, look.state
    active = rollout is not None and rollout.phase in ACTIVE
    if rollout is not None and rollout.phase in (RolloutPhase.PAUSED, RolloutPhase.WAITING):
        weights = state.weights
        if rollout.phase is RolloutPhase.WAITING and state.stable and weights:
            weights = {state.stable: TOTAL}  # what was superseded has none while the next waits
        look.state = msgspec.structs.replace(state, counts=_rescaled(look), weights=weights)
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
        look.state, counts=counts, weights=_settled_weights(look, keep)
    )


def _settled_weights(look: _Look, keep: str) -> Mapping[str, int]:
    """All to the revision that stays while any other has tasks left; then none are needed."""
    tasks = look.world.tasks_of(look.state.stack, look.state.service)
    others = look.state.warm or any(v.live and v.task.revision != keep for v in tasks)
    return {keep: TOTAL} if look.state.weights and others else {}


def _cool(look: _Look, *, needed: bool) -> None:
    """Let the replaced revision go when its time is over; the time is written every 5 s."""
    state, now = look.state, look.draft.now
    if state.warm is None:
        return
    passed = now - state.warm_at
    left = state.warm_left - min(max(passed, 0.0), LOOKED)
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


def _all(look: _Look, revision: str) -> Mapping[str, int]:
    spec = look.case.spec
    if spec.mode is Mode.GLOBAL:
        return {revision: EVERYWHERE}
    wanted = fit.replicas(look.world, look.state.stack, spec)
    return {revision: wanted} if wanted else {}


def _recovered(look: _Look, rollout: Rollout) -> None:
    """A first rollout that failed, whose tasks have come up after all: it is done."""
    observed = _observe(look, rollout.target)
    if observed.complete and observed.wanted and look.case.declared == rollout.target:
        look.also.append(Delete(ref=ref(Hold, f"{look.name}/{rollout.target}")))
        _complete(look, rollout)
    elif not observed.complete:
        again = look.draft.now + STORE_EVERY if observed.blocked else None
        soon = observed.tally(rollout.target).next_available
        look.wake_at = earliest(look.wake_at, earliest(soon, again))


def _rescaled(look: _Look) -> Mapping[str, int]:
    """Counts of a rollout that stands still, at the present scale."""
    state, rollout = look.state, look.state.rollout
    assert rollout is not None
    if len(state.counts) == 1:
        return _all(look, next(iter(state.counts)))
    observed = _observe(look, rollout.target)
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
