"""A stack goes back, as a whole, to a release kept before.

Called by the control API, which commits what it gets; the rollouts loop does the rest.
"""

from collections.abc import Iterator, Mapping

import msgspec

from stackd.core.model.draft import Draft
from stackd.core.model.ids import service_key
from stackd.core.model.record import Change, Changes, Delete, Put, Record, ref
from stackd.core.model.release import Hold, Release, Revision, Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.world import World
from stackd.core.rollout.commands import Asked
from stackd.errors import Refused, Unknown


def rollback_stack(world: World, stack: str, asked: Asked, to: int = 0) -> Changes:
    """The whole stack to a release kept before whose revisions have run in full, by default the
    last that differs and is not refused; the revisions that are left are held."""
    head = world.get(Stack, stack)
    now = world.release(stack)
    if head is None or now is None:
        raise Unknown(f"Stack {stack} does not exist or is being removed.", "See: stackd ls.")
    kept = sorted((r for r in world.all(Release) if r.stack == stack), key=lambda r: -r.number)
    older = [
        r
        for r in kept
        if r.number < now.number
        and r.services != now.services
        and not (_unproven(world, now, r) or _held(world, now, r))
    ]
    chosen = next((r for r in kept if r.number == to), None) if to else next(iter(older), None)
    if chosen is None or chosen.number == now.number:
        numbers = ", ".join(str(r.number) for r in kept if r.number != now.number) or "none"
        earlier = "an earlier one that differs, has run in full and is not refused"
        what = f"release {to}" if to else earlier
        kind = Unknown if to and chosen is None else Refused
        raise kind(f"Stack {stack} cannot go back to {what}.", f"Releases kept: {numbers}.")
    if unproven := _unproven(world, now, chosen):
        raise Refused(unproven, f"Choose another release: stackd history {stack}.")
    draft = Draft(asked.now, asked.ids, asked.by)
    then = chosen
    fresh, notes = _renewed(world, then, asked)
    text = "; ".join((f"release {now.number} -> {chosen.number}, by {asked.by}", *notes))
    event = draft.event("release.rolled_back", stack, text)
    if fresh:
        number = kept[0].number + 1
        chosen = _release_of(chosen, fresh, number, asked)
    records: list[Record | Change] = [
        msgspec.structs.replace(head, release=chosen.number, commit=chosen.commit, back=True),
        event,
        *([chosen, *fresh.values(), *_as_proven(world, then, fresh)] if fresh else []),
    ]
    for name in sorted(chosen.services):
        records += _holds(world, now, chosen, name, asked)
    changes = tuple(Put(record=r) if isinstance(r, Record) else r for r in records)
    return Changes(changes=changes)


def _renewed(world: World, chosen: Release, asked: Asked) -> tuple[dict[str, Revision], list[str]]:
    """The revisions, by service, that replace those of a release which name revoked contents."""
    fresh: dict[str, Revision] = {}
    notes: list[str] = []
    for name, part in sorted(chosen.services.items()):
        old = world.get(Revision, f"{chosen.stack}/{name}/{part.revision}")
        if old is not None:
            new, said = asked.renew(world, old)
            notes += said
            if new is not old:
                fresh[name] = new
    return fresh, notes


def _as_proven(world: World, then: Release, fresh: Mapping[str, Revision]) -> list[Record]:
    """States in which new revisions count as those of `then` that they replace: what has run in
    full is the process, not the value of a secret."""
    records: list[Record] = []
    for name, revision in fresh.items():
        state = world.get(ServiceState, service_key(then.stack, name))
        if state is not None and then.services[name].revision in state.proven:
            proven = tuple(dict.fromkeys((*state.proven, revision.id)))
            records.append(msgspec.structs.replace(state, proven=proven))
    return records


def _differing(now: Release, chosen: Release) -> Iterator[tuple[str, str]]:
    """`STACK/SERVICE` and the revision of each service that goes to another one."""
    for name, part in sorted(chosen.services.items()):
        before = now.services.get(name)
        if before is not None and before.revision != part.revision:
            yield service_key(now.stack, name), part.revision


def _unproven(world: World, now: Release, chosen: Release) -> str:
    """The first revision of a release that keeps it from being gone back to; '' = none."""
    for key, revision in _differing(now, chosen):
        state = world.get(ServiceState, key)
        if state is None or revision not in state.proven:
            hold = world.get(Hold, f"{key}/{revision}")
            why = f": {hold.reason}" if hold else ""
            return f"{key} at revision {revision} has never run in full{why}."
    return ""


def _held(world: World, now: Release, chosen: Release) -> bool:
    """Whether a person or a failure has refused something of it."""
    return any(world.get(Hold, f"{key}/{rev}") for key, rev in _differing(now, chosen))


def _release_of(
    chosen: Release, fresh: Mapping[str, Revision], number: int, asked: Asked
) -> Release:
    """A release is immutable: one that cannot come back as it was comes back as a new one."""
    services = {
        name: msgspec.structs.replace(part, revision=fresh[name].id) if name in fresh else part
        for name, part in chosen.services.items()
    }
    return msgspec.structs.replace(
        chosen, number=number, services=services, at=asked.now, by=asked.by
    )


def _holds(
    world: World, now: Release, chosen: Release, name: str, asked: Asked
) -> list[Record | Change]:
    """Holds of one service when the stack goes back: one on what is left, none on what comes."""
    key = service_key(now.stack, name)
    target = chosen.services[name].revision
    before = now.services.get(name)
    if before is None or before.revision == target:
        return []
    held = world.get(Hold, f"{key}/{target}")
    records: list[Record | Change] = [
        Hold(
            stack=now.stack,
            service=name,
            revision=before.revision,
            reason=f"rolled back to release {chosen.number} by {asked.by}",
            at=asked.now,
            by=asked.by,
        )
    ]
    if held is not None:
        records.append(Delete(ref=ref(Hold, held.key)))
    return records
