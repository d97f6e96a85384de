"""The toggles of one service, one look: each with stages grows by them, or goes back.

Called by the rollouts loop beside `service`, of which it shares the way rollouts go. Shares are
what nodes get through the traffic table (`core.traffic.table`); no task is touched.
"""

from collections.abc import Mapping

import msgspec

from stackd.core.model.analysis import Analysis
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, join
from stackd.core.model.ids import service_key
from stackd.core.model.record import Delete, Record, ref
from stackd.core.model.release import Freeze, Hold, Release, ServiceRelease, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.toggle import Toggle, ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.rollout import depends, places
from stackd.core.rollout.choose import Case
from stackd.core.rollout.look import Look
from stackd.core.rollout.service import advance, changes_of, start
from stackd.core.rollout.staged import named


def decide(world: World, stack: str, service: str, now: float, ids: Ids) -> Decision:
    """Take the toggles of a service as far as they may go now."""
    release = world.release(stack)
    names = places.toggles(world, stack, service)
    return join([_one(world, release, (stack, name), Draft(now, ids)) for name in names])


def _one(world: World, release: Release | None, place: tuple[str, str], draft: Draft) -> Decision:
    stack, name = place
    key = service_key(stack, name)
    known = world.get(ToggleState, key)
    part = places.declared(release, name)
    if release is None or part is None:
        if known is not None:
            draft.group([Delete(ref=ref(*at)) for at in _records(world, key)], [ref(Stack, stack)])
        return draft.decision()
    hold = world.get(Hold, f"{key}/{part.revision}")
    state = known or _found(world, stack, name)
    case = Case(release, part.spec, part.revision, state, hold)
    look = Look(world, case, draft, state, [])
    share = _declared_share(release, name)
    if _at_once(world, look, share):
        _set(look, part, share)
    else:
        _grow(look)
    if look.state != known or look.also:
        relies = [ref(Stack, stack), ref(Hold, f"{key}/{part.revision}")]
        relies += [ref(Freeze, stack), ref(Freeze, Freeze.ALL)]
        draft.group(*changes_of(look, known, relies))
    return draft.decision(look.wake_at)


def _records(world: World, key: str) -> list[tuple[type[Record], str]]:
    """All that is kept of a toggle that has no stages any more."""
    found: list[tuple[type[Record], str]] = [(ToggleState, key)]
    if world.get(Analysis, key) is not None:
        found.append((Analysis, key))
    return found + [(Hold, h.key) for h in world.all(Hold) if h.key.startswith(f"{key}/")]


def _declared_share(release: Release, name: str) -> int:
    service, _, toggle = name.partition("/")
    return release.services[service].spec.features[toggle].share


def _found(world: World, stack: str, name: str) -> ToggleState:
    """A toggle that has got stages: it has the share that nodes give now."""
    service, _, toggle = name.partition("/")
    entry = world.get(TrafficEntry, service_key(stack, service))
    shown = entry.features.get(toggle) if entry is not None else None
    share = shown.share if shown is not None else 0
    return ToggleState(
        stack=stack,
        service=name,
        stable=named(share),
        former=share,
        weights=ToggleState.reaching(share),
    )


def _at_once(world: World, look: Look, share: int) -> bool:
    """The declared share needs no stages: it is not larger than the former one, no task has ever
    run that would know another, or the stack has gone back to a share that was once reached."""
    state = look.state
    assert isinstance(state, ToggleState)
    head = world.get(Stack, state.stack)
    if head is not None and head.back and look.case.declared in state.proven:
        return True
    service = world.get(ServiceState, look.name.rpartition("/")[0])
    if service is None or service.stable is None:
        return True
    return share <= state.former and (state.stable != look.case.declared or bool(look.case.active))


def _set(look: Look, part: ServiceRelease, share: int) -> None:
    """The declared share acts, and is what later ones go back to."""
    state, to = look.state, part.revision
    if state.stable == to and not look.case.active:
        return
    cause = look.case.release.cause
    if look.case.active is not None:
        look.tell("superseded", f"{look.case.active.target} by {to}, which acts at once", cause)
    elif look.world.get(ToggleState, look.name) is not None:
        look.tell("completed", f"{state.stable} -> {to} at once", cause)
    if look.case.hold is not None:
        look.also.append(Delete(ref=ref(Hold, look.case.hold.key)))
    look.state = msgspec.structs.replace(
        state, stable=to, former=share, weights=ToggleState.reaching(share), rollout=None
    )


def _grow(look: Look) -> None:
    before = look.case.active
    start(look)
    rollout = look.case.active
    if rollout is None:
        return
    if before is None or rollout.id != before.id:  # also what was superseded reaches none more
        former = getattr(look.state, "former", 0)
        weights = ToggleState.reaching(former)
        look.state = msgspec.structs.replace(look.state, weights=weights)
    if (why := _stands(look, rollout)) and rollout.phase is not RolloutPhase.ROLLING_BACK:
        look.put(msgspec.structs.replace(rollout, stands=True, reason=why))
        return
    if rollout.stands:
        look.put(_going_on(look, rollout))
    advance(look)
    if look.state.rollout is not None and look.state.rollout.phase is RolloutPhase.COMPLETE:
        state = look.state
        assert isinstance(state, ToggleState)
        look.state = msgspec.structs.replace(state, former=state.share)


def _stands(look: Look, rollout: Rollout) -> str:
    """Why the toggle stays where it is: a share was set by hand, or its service moves."""
    if rollout.phase in (RolloutPhase.PAUSED, RolloutPhase.WAITING):
        return ""
    override = look.world.get(ToggleOverride, look.name)
    if override is not None and override.holds(_features(look)):
        share = f"{override.share / 100:g}% is set by hand by {override.by}"
        return f"{share}: `stackd flag set {look.name}=declared` lets it go on"
    found = depends.gate(look.world, look.case.release, look.case.spec, look.draft.now)
    return found.reason if found is not None else ""


def _features(look: Look) -> Mapping[str, Toggle]:
    service = look.state.service.partition("/")[0]
    return look.case.release.services[service].spec.features


def _going_on(look: Look, rollout: Rollout) -> Rollout:
    """What the analyses said was of other code, or of another share: they begin anew."""
    return msgspec.structs.replace(
        rollout,
        stands=False,
        judges=False,
        attempt=rollout.attempt + 1,
        moved=look.draft.now,
        deadline_left=look.case.policy.progress_deadline,
    )
