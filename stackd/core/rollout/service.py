"""One service's rollout, one look: what is wanted of each revision now, and what is told.

The decider of the rollouts loop (`manager.rollouts`); strategies move the counts.
"""

from collections.abc import Sequence

import msgspec

from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Change, Delete, Put, Record, Ref, ref
from stackd.core.model.release import Freeze, Hold, Override, Release, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.strategy import OnFailure
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.world import World
from stackd.core.rollout import (
    STRATEGIES,
    answers,
    depends,
    freezing,
    groups,
    judge,
    places,
    removal,
)
from stackd.core.rollout.choose import Case, next_target
from stackd.core.rollout.common import Observed, awake
from stackd.core.rollout.ending import complete, fail
from stackd.core.rollout.look import Look, observed_now
from stackd.core.rollout.pauses import STORE_EVERY, resting
from stackd.core.rollout.settled import settle

_ONGOING = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


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
    look = Look(world, case, draft, state, [])
    _end_override(look)
    start(look)
    advance(look)
    settle(look)
    if look.state != known or look.also:
        relies = [ref(Stack, stack), ref(Hold, f"{key}/{found.revision}"), ref(Override, key)]
        relies += [ref(Freeze, stack), ref(Freeze, Freeze.ALL)]
        draft.group(*changes_of(look, known, relies))
    return draft.decision(look.wake_at)


def changes_of(
    look: Look, known: ServiceState | None, relies: Sequence[Ref]
) -> tuple[list[Change], list[Ref]]:
    """What a look has worked out, and what of `relies` it does not write itself."""
    changes = [c if not isinstance(c, Record) else Put(record=c) for c in look.also]
    written = [Put(record=look.state), *changes] if look.state != known else changes
    return written, [r for r in relies if r not in _places(written)]


def _places(changes: Sequence[Change]) -> set[object]:
    return {c.ref if isinstance(c, Delete) else ref(type(c.record), c.record.key) for c in changes}


def _end_override(look: Look) -> None:
    override = look.world.get(Override, look.name)
    if override is not None and override.declared != look.case.spec.replicas:
        look.also.append(Delete(ref=ref(Override, look.name)))
    if look.world.count(ToggleOverride):
        mine = (o for o in look.world.all(ToggleOverride) if o.key.startswith(look.name + "/"))
        ended = (o for o in mine if not o.holds(look.case.spec.features))
        look.also += [Delete(ref=ref(ToggleOverride, o.key)) for o in ended]


def start(look: Look) -> None:
    """Begin the rollout that there should be and is not, unless a freeze holds it up."""
    target = next_target(look.case)
    if target is None or (target != look.state.stable and _frozen(look) is not None):
        return
    case, old = look.case, look.case.active
    cause = case.release.cause
    if old is not None:
        cause = look.tell("superseded", f"{old.target} by {target}", cause).id
    text = f"{case.state.stable} -> {target}" if case.state.stable else f"first: {target}"
    event = look.tell("started", text, cause)
    look.put(begin(look.draft, case.release, case.state, target, event.id))


def _frozen(look: Look) -> Freeze | None:
    """What keeps a new rollout from beginning; it is looked at again when that ends."""
    found = freezing.holding(look.world, look.state.stack, look.draft.now)
    if found is not None and found.until:
        look.wake_at = earliest(look.wake_at, found.until)
    return found


def begin(
    draft: Draft, release: Release, state: ServiceState, target: RevisionId, cause: str
) -> Rollout:
    """A rollout that has not been looked at yet."""
    declared = places.declared(release, state.service)
    assert declared is not None, "only what is declared is rolled out"
    return Rollout(
        id=draft.ids(),
        target=target,
        source=state.stable,
        release=release.number,
        commit=release.commit,
        phase=RolloutPhase.WAITING,
        started=draft.now,
        moved=draft.now,
        updated=-1,
        deadline_left=declared.spec.strategy.progress_deadline,
        by=release.by,
        cause=cause,
    )


def advance(look: Look) -> None:
    """Take the rollout that has not ended as far as it may go now."""
    rollout = look.case.active
    if rollout is None:
        return
    look.state = msgspec.structs.replace(look.state, warm=None, warm_left=0, warm_at=0)
    if rollout.phase is not RolloutPhase.ROLLING_BACK:
        why = groups.verdict(look.world, look.case.release, look.state.service, rollout)
        if why:
            fail(look, rollout, why, OnFailure.ROLLBACK)
            return _again(look)
    if rollout.phase is RolloutPhase.WAITING:
        rollout = _gated(look, rollout)
    if rollout.phase is RolloutPhase.PAUSED:
        return _refused_meanwhile(look, rollout)
    if rollout.phase not in _ONGOING:
        return
    back = rollout.phase is RolloutPhase.ROLLING_BACK
    target = look.state.stable if back and look.state.stable else rollout.target
    observed = observed_now(look, target)
    policy = look.case.policy
    views = look.world.tasks_of(look.state.stack, look.state.service)
    if not policy.kind.weighted:
        rollout = awake(rollout)  # the strategy may have been changed while it paused
    if not resting(rollout):
        rollout = judge.tick(rollout, observed, policy, look.draft.now)
    if not back:
        rollout = judge.count_failures(rollout, views, look.case.spec)
        why = judge.too_many(rollout, policy, views, observed.wanted)
        why = why or judge.refused(rollout, observed.answers, policy)
        if why and policy.on_failure is not OnFailure.CONTINUE:
            fail(look, rollout, why, policy.on_failure)
            return _again(look)
    late = judge.left(rollout, look.draft.now) <= 0 and not resting(rollout)
    if late and not observed.complete:
        action = OnFailure.PAUSE if policy.on_failure is OnFailure.CONTINUE else policy.on_failure
        fail(look, rollout, judge.stuck(observed, policy, views), action)
        return _again(look)
    _step(look, rollout, observed)
    return None


def _refused_meanwhile(look: Look, rollout: Rollout) -> None:
    """A paused rollout is still judged: its target gets traffic."""
    policy = look.case.policy
    why = judge.refused(rollout, answers.of(look.world, look.state), policy)
    if why and policy.on_failure in (OnFailure.ROLLBACK, OnFailure.STEP_BACK):
        fail(look, rollout, why, OnFailure.ROLLBACK)
        _again(look)


def _gated(look: Look, rollout: Rollout) -> Rollout:
    found = depends.gate(look.world, look.case.release, look.case.spec, look.draft.now)
    frozen = _frozen(look) if rollout.target != look.state.stable else None
    if found is not None or frozen is not None:
        reason = freezing.words(frozen) if frozen else found.reason if found else ""
        waiting = msgspec.structs.replace(rollout, reason=reason)
        look.put(waiting)
        return waiting
    now = look.draft.now
    going = msgspec.structs.replace(
        rollout, phase=RolloutPhase.PROGRESSING, started=now, moved=now, reason=""
    )
    look.put(going)
    return going


def _again(look: Look) -> None:
    """After a failure: the way back begins in the same write, so that nothing else is begun."""
    rollout = look.case.active
    if rollout is None or rollout.phase not in _ONGOING:
        return
    back = rollout.phase is RolloutPhase.ROLLING_BACK and look.state.stable
    _step(look, rollout, observed_now(look, back or rollout.target))


def _step(look: Look, rollout: Rollout, observed: Observed) -> None:
    strategy = STRATEGIES[look.case.policy.kind]
    before, at, waited = rollout.updated, rollout.step, rollout.waits
    step = strategy(look.case.policy, rollout, observed, look.draft.now)
    reason = f"{step.reason}; {observed.blocked}" if observed.blocked else step.reason
    rollout = msgspec.structs.replace(step.state, reason=reason)
    look.state = msgspec.structs.replace(
        look.state, counts=step.counts, weights=step.weights, steering=step.steering
    )
    look.put(rollout)
    if step.failed:
        fail(look, rollout, step.failed, OnFailure.ROLLBACK)
        return _again(look)
    if step.done:
        complete(look, rollout)
        return None
    if rollout.phase is RolloutPhase.PROGRESSING:
        if rollout.step != at:
            look.tell("step", step.told, rollout.cause)
        elif rollout.judges and rollout.waits and not waited:
            look.tell("inconclusive", step.reason, rollout.cause)
        elif rollout.updated > max(0, before) and not step.weights:
            look.tell("progress", step.reason, rollout.cause)
    tick = look.draft.now + STORE_EVERY
    look.wake_at = earliest(step.wake_at, tick)
    return None
