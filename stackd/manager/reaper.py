"""The reaper loop: deadlines of tasks, and what may be forgotten (`core.orchestrate`)."""

from collections.abc import Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Ids, join
from stackd.core.model.event import Event
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.release import ContentHead, ContentVersion, Freeze, Revision, Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import World
from stackd.core.orchestrate import deadlines, reap
from stackd.core.rollout import freezing
from stackd.manager import concerned
from stackd.manager.keyed import Keyed
from stackd.manager.loop import ControlLoop

WATCHES = (
    Task,
    TaskDesired,
    TaskStatus,
    ServiceState,
    Stack,
    Node,
    NodeStatus,
    NodeReport,
    VolumeBinding,
    Event,
    Revision,
    ContentHead,
    ContentVersion,
    Freeze,
)
_VOLUMES = (VolumeBinding.TABLE, NodeReport.TABLE, Node.TABLE)
_CONTENTS = (ContentVersion.TABLE, ContentHead.TABLE, Revision.TABLE)

UNUSED = 600.0
"""Seconds a revision or a version of a content is unused before it is forgotten."""


class _Reaper:
    """Deadlines count from this term's beginning at the earliest."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._deadlines = Keyed(concerned.tasks, self._deadline)
        self._tasks = Keyed(concerned.services, _forget_tasks)
        self._releases = Keyed(_stacks, self._forget_releases)
        self._unused: dict[str, float] = {}
        self._contents: dict[str, float] = {}

    def __call__(self, world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        if self._since is None:
            self._since = now
        parts = (self._deadlines, self._tasks, self._releases)
        decisions = [part(world, dirty, now, ids) for part in parts]
        if dirty.everything or any(r.table in _VOLUMES for r in dirty.refs):
            decisions.append(reap.volumes(world, now, ids.__next__))
        decisions.append(self._forget_contents(world, dirty, now, ids.__next__))
        decisions.append(freezing.ended(world, now, ids.__next__))
        return join([*decisions, reap.events(world, now, ids.__next__)])

    def _deadline(self, world: World, key: str, now: float, ids: Ids) -> Decision:
        return deadlines.decide(world, key, now, self._since or 0.0, ids)

    def _forget_releases(self, world: World, key: str, now: float, ids: Ids) -> Decision:
        """A revision goes once it has been unused for a while: it is written before its release."""
        unused = reap.unused(world, key)
        known = {r: at for r, at in self._unused.items() if r.split("/", 1)[0] != key}
        since = {r: self._unused.get(r, now) for r in unused}
        self._unused = known | since
        spare = {r for r, at in since.items() if at + UNUSED <= now}
        decision = reap.releases(world, key, spare, now, ids)
        later = min((at + UNUSED for r, at in since.items() if r not in spare), default=None)
        return Decision(commits=decision.commits, wake_at=later)

    def _forget_contents(self, world: World, dirty: Dirty, now: float, ids: Ids) -> Decision:
        """As with revisions: a version is written before the revision that names it."""
        wake = min(self._contents.values(), default=now) + UNUSED
        if not (dirty.everything or wake <= now or any(r.table in _CONTENTS for r in dirty.refs)):
            return Decision(wake_at=wake if self._contents else None)
        self._contents = {v: self._contents.get(v, now) for v in reap.unneeded(world)}
        spare = {v for v, at in self._contents.items() if at + UNUSED <= now}
        decision = reap.contents(world, spare, now, ids)
        later = [at + UNUSED for v, at in self._contents.items() if v not in spare]
        return Decision(commits=decision.commits, wake_at=min(later, default=None))


def _stacks(world: World, dirty: Dirty) -> set[str]:
    if dirty.everything:
        return {stack.name for stack in world.all(Stack)}
    tables = (Stack.TABLE, ServiceState.TABLE)
    return {r.key.split("/", 1)[0] for r in dirty.refs if r.table in tables}


def _forget_tasks(world: World, key: str, now: float, ids: Ids) -> Decision:
    stack, service = key.split("/", 1)
    return reap.tasks(world, stack, service, now, ids)


def reaper() -> ControlLoop:
    """The loop, for one term of a leader."""
    return ControlLoop("reaper", WATCHES, _Reaper())
