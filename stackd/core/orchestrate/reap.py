"""What may be forgotten: old finished tasks, old events, old releases, unused revisions
and contents.

Called by the reaper loop.
"""

from collections import defaultdict
from collections.abc import Container

from stackd.core.model import fit
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.event import Event
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import (
    ContentHead,
    ContentKind,
    ContentVersion,
    Release,
    Revision,
    Stack,
)
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import Mode
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView, World

KEPT_TASKS = 5
"""Finished tasks kept for each slot that is in use."""
KEPT_SECONDS = 3600.0
"""How long finished tasks are kept of slots that are no longer in use."""
KEPT_EVENTS = 10_000
_EVENT_SLACK = 500
KEPT_RELEASES = 10


def tasks(world: World, stack: str, service: str, now: float, ids: Ids) -> Decision:
    """Forget finished tasks of a service beyond those kept for each slot."""
    draft = Draft(now, ids)
    spec = world.declared(stack, service)
    kept = KEPT_TASKS
    slots: set[str] = set()
    if spec is not None:
        kept = max(kept, spec.restart.max_attempts + 1)
        count = fit.replicas(world, stack, spec)
        slots = (
            set(fit.global_nodes(world, spec))
            if spec.mode is Mode.GLOBAL
            else {str(number) for number in range(1, count + 1)}
        )
    by_slot: dict[str, list[TaskView]] = defaultdict(list)
    for view in world.tasks_of(stack, service):
        if not view.live:
            by_slot[view.task.slot].append(view)
    wakes: list[float] = []
    for slot, views in sorted(by_slot.items()):
        views.sort(key=lambda v: (v.task.created, v.task.id))
        forget = views[:-kept]
        if slot not in slots:
            forget = [v for v in views if v.status.seen + KEPT_SECONDS <= now or v in forget]
            wakes += [v.status.seen + KEPT_SECONDS for v in views if v not in forget]
        for view in forget:
            draft.group(forgotten(view))
    return draft.decision(earliest(*wakes))


def forgotten(view: TaskView) -> list[Delete]:
    """What removes a task's three records."""
    return [Delete(ref=ref(table, view.task.id)) for table in (Task, TaskDesired, TaskStatus)]


def events(world: World, now: float, ids: Ids) -> Decision:
    """Forget the oldest events beyond the last 10,000, some hundreds at a time."""
    draft = Draft(now, ids)
    surplus = world.count(Event) - KEPT_EVENTS
    if surplus >= _EVENT_SLACK:
        for _, event in zip(range(surplus), world.all(Event), strict=False):
            draft.group([Delete(ref=ref(Event, event.id))])
    return draft.decision()


def volumes(world: World, now: float, ids: Ids) -> Decision:
    """Forget volumes whose removal was asked for once their node has removed the data, or is no
    longer a member."""
    draft = Draft(now, ids)
    for binding in world.all(VolumeBinding):
        report = world.get(NodeReport, binding.node)
        told = report is not None and report.removed.get(binding.name) == binding.removing
        if binding.removing and (told or world.get(Node, binding.node) is None):
            event = draft.event("volume.removed", binding.name, f"its data on {binding.node}")
            draft.group([Delete(ref=ref(VolumeBinding, binding.key)), event])
    return draft.decision()


def releases(world: World, stack: str, spare: Container[str], now: float, ids: Ids) -> Decision:
    """Forget releases older than the last ten unless only they hold a revision still in use, and
    those of the unused revisions that are in `spare`."""
    draft = Draft(now, ids)
    head = world.get(Stack, stack)
    if head is None or head.removing:
        return draft.decision()
    kept = {release.key for release in _kept(world, head)}
    for release in world.all(Release):
        if release.stack == stack and release.key not in kept:
            draft.group([Delete(ref=ref(Release, release.key))], [ref(Stack, stack)])
    for key in sorted(unused(world, stack)):
        if key in spare:
            draft.group([Delete(ref=ref(Revision, key))], [ref(Stack, stack)])
    return draft.decision()


def unused(world: World, stack: str) -> set[str]:
    """Keys of revisions that no kept release, task or rollout names. One that is new may belong
    to a release that is just being written."""
    head = world.get(Stack, stack)
    if head is None or head.removing:
        return set()
    named = _used(world, stack)
    for release in _kept(world, head):
        named |= {(name, str(s.revision)) for name, s in release.services.items()}
    mine = (revision for revision in world.all(Revision) if revision.stack == stack)
    return {r.key for r in mine if (r.service, str(r.id)) not in named}


def contents(world: World, spare: Container[str], now: float, ids: Ids) -> Decision:
    """Forget those of the unneeded versions of configs and secrets that are in `spare`."""
    draft = Draft(now, ids)
    for key in sorted(unneeded(world)):
        if key in spare:
            head = key.rpartition("/")[0]
            draft.group([Delete(ref=ref(ContentVersion, key))], [ref(ContentHead, head)])
    return draft.decision()


def unneeded(world: World) -> set[str]:
    """Keys of versions that are not current and that no revision grants. One that is new may
    belong to a revision that is just being written."""
    granted = {
        (kind, grant.version)
        for revision in world.all(Revision)
        for kind, grants in (
            (ContentKind.CONFIG, revision.container.configs),
            (ContentKind.SECRET, revision.container.secrets),
        )
        for grant in grants
    }
    current = {(head.key, head.version) for head in world.all(ContentHead)}
    return {
        version.key
        for version in world.all(ContentVersion)
        if (f"{version.kind}/{version.name}", version.version) not in current
        and (version.kind, version.version) not in granted
    }


def _kept(world: World, head: Stack) -> list[Release]:
    mine = sorted((r for r in world.all(Release) if r.stack == head.name), key=lambda r: -r.number)
    used = _used(world, head.name)
    named: set[tuple[str, str]] = set()
    kept = []
    for index, release in enumerate(mine):
        its = {(name, str(s.revision)) for name, s in release.services.items()}
        recent = index < KEPT_RELEASES or release.number == head.release
        if recent or (its & used) - named:
            named |= its
            kept.append(release)
    return kept


def _used(world: World, stack: str) -> set[tuple[str, str]]:
    """(service, revision) pairs that tasks, counts or rollbacks still need."""
    used = {(v.task.service, str(v.task.revision)) for v in world.tasks_of_stack(stack)}
    for state in world.all(ServiceState):
        if state.stack == stack:
            names = [*state.counts, *state.proven]
            names += [r for r in (state.stable,) if r]
            names += [state.rollout.target] if state.rollout else []
            used |= {(state.service, str(name)) for name in names}
    return used
