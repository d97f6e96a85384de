"""Turns a plan into the records that make it true: what the deployer commits, in this order."""

from collections.abc import Iterator, Sequence

import msgspec

from stackd.core.model.event import Event
from stackd.core.model.record import Change, Changes, Delete, Put, Ref, Value, ref
from stackd.core.model.release import Digest, Override, Release, Revision, Stack
from stackd.core.model.world import World
from stackd.core.plan.changes import ClearOverride, describe
from stackd.core.plan.make import Plan
from stackd.errors import Conflict

BATCH = 40
"""Records per preparatory commit; a transaction takes 100 places."""
RELIED = 60
"""Most revisions that a release relies on."""


class Stamp(Value, frozen=True, kw_only=True):
    """When, by whom, from which commit, and the id of the event that tells of it."""

    at: float
    by: str
    event: str
    commit: str = ""
    path: str = ""
    cause: str = ""


def preparation(world: World, plan: Plan, digests: Sequence[Digest]) -> Iterator[Changes]:
    """Revisions and digests that are not there yet. Harmless if the release never follows."""
    wanted: list[Put] = [
        Put(record=revision)
        for revision in plan.revisions
        if world.get(Revision, revision.key) is None
    ]
    wanted += [Put(record=d) for d in digests if world.get(Digest, d.key) != d]
    for start in range(0, len(wanted), BATCH):
        yield Changes(changes=tuple(wanted[start : start + BATCH]))


def relied(world: World, plan: Plan) -> tuple[Ref, ...]:
    """Revisions of the plan that no release names yet. One that was there before may have been
    unused for so long that it is forgotten at this very moment, and tasks of it would wait for
    ever. Raises Conflict when one has gone."""
    named = {
        (name, part.revision)
        for known in world.all(Release)
        if known.stack == plan.stack
        for name, part in known.services.items()
    }
    found = [r for r in plan.revisions if (r.service, r.id) not in named]
    if any(world.get(Revision, revision.key) is None for revision in found):
        raise Conflict("A revision has been forgotten meanwhile.", "Try again.")
    return tuple(ref(Revision, revision.key) for revision in found[:RELIED])


def release(world: World, plan: Plan, stamp: Stamp) -> Changes:
    """The one commit that declares the plan: release, head, ended overrides, the event."""
    head = world.get(Stack, plan.stack)
    number = next_number(world, plan.stack)
    record = Release(
        stack=plan.stack,
        number=number,
        spec=plan.spec,
        services=plan.services,
        commit=stamp.commit,
        at=stamp.at,
        by=stamp.by,
        cause=stamp.event,
        content_hash=plan.content_hash,
    )
    by_hand = not plan.owner == "cli" and stamp.commit == ""
    new_head = Stack(
        name=plan.stack,
        owner=plan.owner,
        release=number,
        commit=stamp.commit or (head.commit if head and by_hand else ""),
        seen_commit=stamp.commit or (head.seen_commit if head else ""),
        path=stamp.path or (head.path if head else ""),
        override=f"{stamp.by}" if by_hand else "",
    )
    cleared: list[Change] = [
        Delete(ref=ref(Override, f"{plan.stack}/{change.service}"))
        for change in plan.changes
        if isinstance(change, ClearOverride)
    ]
    event = Event(
        id=stamp.event,
        at=stamp.at,
        kind="release.created",
        object=plan.stack,
        principal=stamp.by,
        cause=stamp.cause,
        text=f"release {number}: "
        + "; ".join(describe(plan.stack, change).text for change in plan.changes[:20]),
    )
    puts = (Put(record=record), Put(record=new_head), Put(record=event))
    return Changes(changes=(*puts, *cleared))


def next_number(world: World, stack: str) -> int:
    """One above every kept release: a rollback makes an older one current, and a number is never
    given twice."""
    return max((r.number for r in world.all(Release) if r.stack == stack), default=0) + 1


def seen(world: World, stack: str, commit: str, problem: str = "") -> Changes:
    """Note that a stack's owner has processed `commit`: nothing to deploy, or `problem`."""
    head = world.get(Stack, stack)
    if head is None or (head.seen_commit == commit and head.problem == problem):
        return Changes()
    since = (head.problem_since or commit) if problem else ""
    noted = msgspec.structs.replace(head, seen_commit=commit, problem=problem, problem_since=since)
    return Changes(changes=(Put(record=noted),))


def confirmed(world: World, stack: str, commit: str, path: str) -> Changes:
    """Note that the file at `path` declares at `commit` exactly what is declared already. What
    was deployed by hand over it counts as the commit's from now on."""
    head = world.get(Stack, stack)
    if head is None:
        return Changes()
    noted = msgspec.structs.replace(
        head,
        commit=commit if head.override else head.commit,
        seen_commit=commit,
        path=path,
        problem="",
        problem_since="",
        override="",
    )
    return Changes(changes=(Put(record=noted),)) if noted != head else Changes()
