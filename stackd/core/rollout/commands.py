"""What a person may ask of a rollout: each answers with the changes to write, or refuses.

Called by the control API, which commits what it gets; the rollouts loop does the rest. A whole
stack goes back in `goback`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from stackd.core.model.draft import Draft, Ids
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Change, Changes, Delete, Put, Record, ref
from stackd.core.model.release import Hold, Release, Revision, ServiceRelease, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.world import World
from stackd.core.rollout import answers, freezing, groups, judge, places
from stackd.core.rollout.common import awake
from stackd.core.rollout.ending import turn_back
from stackd.core.rollout.pauses import ACTIVE, pause_left, promotable
from stackd.core.rollout.service import begin
from stackd.core.rollout.weighted import passed
from stackd.errors import Refused, Stale, Unknown

Renew = Callable[[World, Revision], tuple[Revision, Sequence[str]]]
"""What is deployed in place of a revision that names revoked contents, and a sentence for each
(`core.plan.revision.renewed`)."""


@dataclass(frozen=True)
class Asked:
    """Who asks, when (Unix seconds, the manager's clock), and fresh ids."""

    by: str
    now: float
    ids: Ids
    renew: Renew = lambda _, revision: (revision, ())


@dataclass(frozen=True)
class _Place:
    """A service as it is when somebody asks something of it."""

    release: Release
    declared: ServiceRelease
    state: ServiceState
    hold: Hold | None

    @property
    def name(self) -> str:
        return self.state.key

    @property
    def active(self) -> Rollout | None:
        rollout = self.state.rollout
        return rollout if rollout is not None and rollout.phase in ACTIVE else None


def _place(world: World, stack: str, service: str) -> _Place:
    key = service_key(stack, service)
    release = world.release(stack)
    declared = places.declared(release, service)
    if release is None or declared is None:
        raise Unknown(f"{key} is not declared.", f"See the services of it: stackd ps {stack}.")
    state = places.state_of(world, key)
    if state is None:
        raise Refused(f"{key} has not been looked at yet.", "Try again in a moment.")
    return _Place(release, declared, state, world.get(Hold, f"{key}/{declared.revision}"))


def meant(world: World, key: str, revision: str) -> None:
    """Refuses with Stale when another rollout runs at `key` than the one to `revision`, which is
    what whoever asks has looked at. '' = whichever runs."""
    state = places.state_of(world, key)
    rollout = state.rollout if state is not None else None
    if not revision or rollout is None or rollout.target == revision:
        return
    way = f"{rollout.source or 'nothing'} -> {rollout.target}"
    began = f"of release {rollout.release}{f' by {rollout.by}' if rollout.by else ''}"
    there = rollout.reason or rollout.phase.value.replace("_", " ")
    if rollout.phase in ACTIVE:
        text = f"{key} has no rollout to {revision} any more: {way}, {began}, runs now ({there})."
    else:
        text = f"{key} has no rollout to {revision} under way: the last one was {way}, {began}."
    raise Stale(text, f"Look again, then decide: stackd status {key}.")


def _running(world: World, place: _Place) -> Rollout:
    if place.active is None:
        toggles = places.toggles(world, place.state.stack, place.state.service)
        keys = (service_key(place.state.stack, name) for name in toggles)
        states = (places.state_of(world, key) for key in keys)
        going = [s.key for s in states if s and s.rollout and s.rollout.phase in ACTIVE]
        meant = f"Did you mean its toggle {' or '.join(going)}?" if going else ""
        remedy = meant or f"See: stackd status {place.name}."
        raise Refused(f"{place.name} has no rollout under way.", remedy)
    return place.active


def _write(place: _Place, draft: Draft, rollout: Rollout, told: tuple[str, str]) -> list[Record]:
    verb, text = told
    event = draft.event(f"rollout.{verb}", place.name, text, rollout.cause)
    return [msgspec.structs.replace(place.state, rollout=rollout), event]


def _changes(records: Sequence[Record | Change], place: _Place) -> Changes:
    changes = tuple(Put(record=r) if isinstance(r, Record) else r for r in records)
    return Changes(changes=changes, relies=(ref(Stack, place.state.stack),))


def abort(world: World, stack: str, service: str, asked: Asked) -> Changes:
    """Give up the rollout: its revision is held, the stable one comes back whole."""
    place = _place(world, stack, service)
    rollout = _running(world, place)
    if rollout.phase is RolloutPhase.ROLLING_BACK:
        raise Refused(f"{place.name} is going back already.", f"See: stackd status {place.name}.")
    draft = Draft(asked.now, asked.ids, asked.by)
    reason = f"aborted by {asked.by}"
    hold = _hold(place, rollout.target, reason, asked)
    spec = place.declared.spec
    if place.state.stable is None:
        ended = msgspec.structs.replace(
            rollout, phase=RolloutPhase.FAILED, ended=asked.now, reason=reason
        )
    else:
        ended = turn_back(
            rollout, spec.rollback.progress_deadline, asked.now, reason, rollout.cause
        )
    return _changes([*_write(place, draft, ended, ("aborted", reason)), hold], place)


def _hold(place: _Place, revision: RevisionId, reason: str, asked: Asked) -> Hold:
    return Hold(
        stack=place.state.stack,
        service=place.state.service,
        revision=revision,
        reason=reason,
        at=asked.now,
        by=asked.by,
    )


def pause(world: World, stack: str, service: str, asked: Asked) -> Changes:
    """Stop the rollout where it is until `resume`."""
    place = _place(world, stack, service)
    rollout = _running(world, place)
    if rollout.phase not in (RolloutPhase.PROGRESSING, RolloutPhase.WAITING):
        word = rollout.phase.value.replace("_", " ")
        raise Refused(f"{place.name} is {word}, which cannot be paused.", "Wait for its end.")
    reason = f"paused by {asked.by}"
    draft = Draft(asked.now, asked.ids, asked.by)
    rest = pause_left(rollout, asked.now)
    paused = msgspec.structs.replace(
        rollout, phase=RolloutPhase.PAUSED, reason=reason, pause_left=max(rest, 0.0)
    )
    return _changes(_write(place, draft, paused, ("paused", reason)), place)


def resume(world: World, stack: str, service: str, asked: Asked) -> Changes:
    """Go on with a paused rollout; failures so far no longer count."""
    place = _place(world, stack, service)
    rollout = place.active
    if rollout is None or rollout.phase is not RolloutPhase.PAUSED:
        raise Refused(f"{place.name} is not paused.", f"See: stackd status {place.name}.")
    draft = Draft(asked.now, asked.ids, asked.by)
    told = ("resumed", f"resumed by {asked.by}")
    return _changes(_write(place, draft, _going_on(world, place, rollout, asked), told), place)


def _going_on(world: World, place: _Place, rollout: Rollout, asked: Asked) -> Rollout:
    """A paused rollout that goes on, with all of its time and no failures; analyses that have
    failed it begin anew."""
    spec = place.declared.spec
    views = world.tasks_of(place.state.stack, place.state.service)
    again = bool(judge.refused(rollout, answers.of(world, place.state), spec.strategy))
    return msgspec.structs.replace(
        judge.count_failures(rollout, views, spec),
        phase=RolloutPhase.PROGRESSING if place.state.counts else RolloutPhase.WAITING,
        reason="",
        failures=0,
        moved=asked.now,
        deadline_left=spec.strategy.progress_deadline,
        paused_until=0,
        pause_at=asked.now if rollout.pause_at and not again else 0,
        attempt=rollout.attempt + again,
    )


def promote(
    world: World, stack: str, service: str, asked: Asked, *, full: bool, step: int | None = None
) -> Changes:
    """Go on past a pause; `full` also skips all steps that are left, or the delay between
    batches. With `step` only while so many steps are done."""
    place = _place(world, stack, service)
    rollout = _running(world, place)
    if step not in (None, rollout.step):
        there = rollout.reason or rollout.phase.value
        raise Stale(f"{place.name} has gone on meanwhile: {there}.", "Look again, then decide.")
    paused = rollout.phase is RolloutPhase.PAUSED
    if paused and not full and not promotable(rollout):
        return resume(world, stack, service, asked)
    moving = paused or rollout.phase in (RolloutPhase.PROGRESSING, RolloutPhase.WAITING)
    weighted = place.declared.spec.strategy.kind.weighted
    if not moving or (not full and not promotable(rollout)) or (rollout.full and not paused):
        left = "the steps that are left" if weighted else "the delay between batches"
        raise Refused(
            f"{place.name} waits for nobody: {rollout.reason or rollout.phase.value}.",
            f"See: stackd status {place.name}." if full else f"Use --full to skip {left}.",
        )
    draft = Draft(asked.now, asked.ids, asked.by)
    onward = _going_on(world, place, rollout, asked) if paused else rollout
    onward = _onward(place, onward, asked.now, full=full)
    told = ("promoted", f"promoted by {asked.by}{' in full' if full and weighted else ''}")
    records = _write(place, draft, onward, told)
    at = None if full else rollout.step
    alone = rollout.gated and not full  # those of its group wait for it, not for the gate
    for name in () if alone else groups.beside(world, place.release, service, at):
        other = _place(world, stack, name)
        onward = _onward(other, _running(world, other), asked.now, full=full)
        records += _write(other, draft, onward, told)
    return _changes(records, place)


def _onward(place: _Place, rollout: Rollout, now: float, *, full: bool) -> Rollout:
    """Past the gate or the pause where it is, or past all steps."""
    if full:
        return msgspec.structs.replace(awake(rollout), full=True, paused_until=0)
    if rollout.gated:
        return msgspec.structs.replace(rollout, gated=False, confirmed=rollout.confirmed + 1)
    return passed(rollout, place.declared.spec.strategy, rollout.step + 1, now)


def retry(world: World, stack: str, service: str, asked: Asked) -> Changes:
    """Lift the hold on the declared revision, so that it is rolled out again."""
    place = _place(world, stack, service)
    rollout = place.state.rollout
    stuck = rollout is not None and rollout.phase is RolloutPhase.FAILED
    if place.hold is None and not stuck:
        raise Refused(
            f"{place.name} holds nothing: revision {place.declared.revision} is not refused.",
            f"See: stackd status {place.name}.",
        )
    frozen = freezing.holding(world, stack, asked.now)
    if frozen is not None:
        raise Refused(f"{place.name} is {freezing.words(frozen)}.", freezing.way_out(frozen))
    draft = Draft(asked.now, asked.ids, asked.by)
    with_it = groups.refused_with(world, place.release, service, rollout) if rollout else ()
    records = [r for name in with_it for r in _again(draft, _place(world, stack, name))]
    return _changes([*_again(draft, place), *records], place)


def _again(draft: Draft, place: _Place) -> list[Record | Change]:
    """The declared revision is no longer held, and rolled out again."""
    rollout = place.state.rollout
    text = f"{place.declared.revision} may be rolled out again"
    event = draft.event("rollout.retried", place.name, text)
    records: list[Record | Change] = [event]
    if place.hold is not None:
        records.append(Delete(ref=ref(Hold, place.hold.key)))
    if rollout is not None and rollout.target == place.declared.revision:
        again = begin(draft, place.release, place.state, place.declared.revision, event.id)
        records.append(msgspec.structs.replace(place.state, rollout=again))
    return records


def rollback(world: World, stack: str, service: str, asked: Asked, to: str = "") -> Changes:
    """One step to a revision proven before, by default the last one; what is left is held."""
    place = _place(world, stack, service)
    active = place.active
    left = active.target if active is not None else place.state.stable
    if active is not None and place.state.stable and to in ("", place.state.stable):
        if active.phase is not RolloutPhase.ROLLING_BACK:
            return abort(world, stack, service, asked)
        raise Refused(f"{place.name} is going back already.", f"See: stackd status {place.name}.")
    target = _proven(world, place, left, to)
    chosen = world.get(Revision, f"{place.name}/{target}")
    assert chosen is not None
    fresh, notes = asked.renew(world, chosen)
    target = fresh.id
    draft = Draft(asked.now, asked.ids, asked.by)
    text = "; ".join((f"back: {left} -> {target}, by {asked.by}", *notes))
    event = draft.event("rollout.started", place.name, text)
    rollout = begin(draft, place.release, place.state, target, event.id)
    going = msgspec.structs.replace(rollout, phase=RolloutPhase.PROGRESSING, by=asked.by)
    proven = place.state.proven
    if fresh is not chosen:  # what was proven is the process, not the value of a secret
        proven = (*proven, target)
    records: list[Record | Change] = [
        msgspec.structs.replace(place.state, rollout=going, proven=proven),
        event,
        *([fresh] if fresh is not chosen else []),
    ]
    reason = f"rolled back to {target} by {asked.by}"
    for revision in dict.fromkeys(r for r in (left, place.declared.revision) if r):
        if revision != target:
            records.append(_hold(place, revision, reason, asked))
    held = world.get(Hold, f"{place.name}/{target}")
    if held is not None:
        records.append(Delete(ref=ref(Hold, held.key)))
    return _changes(records, place)


def _proven(world: World, place: _Place, left: str | None, to: str) -> RevisionId:
    """The revision to go back to."""
    candidates = [
        r
        for r in place.state.proven
        if r != left and world.get(Revision, f"{place.name}/{r}") is not None
    ]
    if to:
        found = next((r for r in candidates if r.startswith(to)), None)
        if found is None:
            known = ", ".join(candidates) or "none"
            raise Unknown(
                f"{to} is not a revision of {place.name} that has run in full before.",
                f"Those that have: {known}.",
            )
        return found
    unheld = [r for r in candidates if world.get(Hold, f"{place.name}/{r}") is None]
    if not unheld:
        raise Refused(
            f"{place.name} has no other revision that has run in full and is not held.",
            f"See: stackd history {place.state.stack}.",
        )
    return unheld[0]
