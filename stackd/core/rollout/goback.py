"""A stack goes back, as a whole, to a release kept before.

Called by the control API, which commits what it gets; the rollouts loop does the rest.
"""

from collections.abc import Mapping

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
    """The whole stack to a release kept before, by default the last that differs; the revisions
    that are left are held."""
    head = world.get(Stack, stack)
    now = world.release(stack)
    if head is None or now is None:
        raise Unknown(f"Stack {stack} does not exist or is being removed.", "See: stackd ls.")
    kept = sorted((r for r in world.all(Release) if r.stack == stack), key=lambda r: -r.number)
    older = [r for r in kept if r.number < now.number and r.services != now.services]
    chosen = next((r for r in kept if r.number == to), None) if to else next(iter(older), None)
    if chosen is None or chosen.number == now.number:
        numbers = ", ".join(str(r.number) for r in kept if r.number != now.number) or "none"
        what = f"release {to}" if to else "an earlier release that differs"
        kind = Unknown if to and chosen is None else Refused
        raise kind(f"Stack {stack} cannot go back to {what}.", f"Releases kept: {numbers}.")
    draft = Draft(asked.now, asked.ids, asked.by)
    fresh, notes = _renewed(world, chosen, asked)
    text = "; ".join((f"release {now.number} -> {chosen.number}, by {asked.by}", *notes))
    event = draft.event("release.rolled_back", stack, text)
    if fresh:
        number = kept[0].number + 1
        chosen = _release_of(chosen, fresh, number, asked)
    records: list[Record | Change] = [
        msgspec.structs.replace(head, release=chosen.number, commit=chosen.commit, back=True),
        event,
        *([chosen, *fresh.values()] if fresh else []),
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
    """Holds of one service when the stack goes back; refuses a revision never proven."""
    key = service_key(now.stack, name)
    target = chosen.services[name].revision
    before = now.services.get(name)
    if before is None or before.revision == target:
        return []
    state = world.get(ServiceState, key)
    held = world.get(Hold, f"{key}/{target}")
    if held is not None and (state is None or target not in state.proven):
        raise Refused(
            f"{key} at revision {target} is refused: {held.reason}.",
            f"Choose another release, or: stackd retry {key}.",
        )
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
