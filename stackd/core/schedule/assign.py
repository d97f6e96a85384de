"""Places pending tasks: groups of like tasks against all nodes at once. PENDING to ASSIGNED.

`decide` is the scheduler loop's decider; `can_place` answers plans. A task that cannot be placed
carries the reason in its status; one whose back-off is not over waits for it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from stackd.core.model import fit
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.fit import NodeView
from stackd.core.model.ids import service_key
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Put, Record, ref
from stackd.core.model.release import Revision
from stackd.core.model.stack import Mode, Placement, ServiceSpec
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired
from stackd.core.model.world import TaskView, World
from stackd.core.schedule import filters, rank, volumes
from stackd.core.schedule.filters import Needs
from stackd.core.schedule.load import Load, Loads


@dataclass
class _Pass:
    """One pass over the pending tasks."""

    world: World
    draft: Draft
    loads: Loads
    nodes: tuple[NodeView, ...]
    bound: set[str] = field(default_factory=set)
    """Keys of volume bindings written: a place is written once in a pass."""
    given: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Service -> the nodes that got tasks of it in this pass."""
    allowed: dict[tuple[Placement, tuple[tuple[str, str], ...]], "_Allowed"] = field(
        default_factory=dict
    )

    def load(self, node: str) -> Load:
        return self.loads.get(self.world, node)


@dataclass(frozen=True)
class _Allowed:
    """The nodes that facts alone do not exclude, and the reasons against the others."""

    nodes: tuple[NodeView, ...]
    reasons: tuple[str, ...]
    named: Mapping[str, NodeView]
    idle: rank.Idle


def decide(world: World, pending: Iterable[str], loads: Loads, now: float, ids: Ids) -> Decision:
    """Place the tasks of `pending` that are PENDING and wanted, as far as there is room."""
    groups: dict[tuple[str, str, str], list[TaskView]] = defaultdict(list)
    wakes: list[float] = []
    for task_id in sorted(pending):
        view = world.task(task_id)
        if view is None or view.status.state is not TaskState.PENDING or not view.wanted:
            continue
        if view.task.not_before > now:
            wakes.append(view.task.not_before)
            continue
        groups[view.task.stack, view.task.service, view.task.revision].append(view)
    nodes = tuple(fit.node_views(world)) if groups else ()
    this = _Pass(world, Draft(now, ids), loads, nodes)
    for group in groups.values():
        _place(this, group)
    if this.bound:
        wakes.append(now)
    return this.draft.decision(earliest(*wakes))


def _place(this: _Pass, group: Sequence[TaskView]) -> None:
    first = group[0].task
    spec = this.world.declared(first.stack, first.service)
    key = f"{first.stack}/{first.service}/{first.revision}"
    revision = this.world.get(Revision, key)
    if revision is None:
        return
    needs = Needs(
        service=service_key(first.stack, first.service),
        placement=spec.placement if spec else Placement(),
        resources=revision.container.resources,
        revision=first.revision,
    )
    names = volumes.names(this.world, first.stack, revision)
    born = spec is not None and spec.mode is Mode.GLOBAL
    if born or names:
        for view in group:
            _place_bound(this, view, needs, names)
        return
    ranking, fixed = _ranking(this, needs, group)
    refused: list[str] = []
    capped = needs.placement.max_replicas_per_node > 0
    for view in group:
        slot = view.task.slot

        def usable(node: NodeView, slot: str = slot) -> str:
            return filters.room(needs, node, this.load(node.node.id), slot)

        found, more = ranking.take(usable, retry=capped)
        refused = more if capped else [*refused, *more]
        if found is None:
            _cannot(this, view, filters.explain([*fixed, *refused]))
        else:
            _assign(this, view, found.node.id, needs, [])
    ranking.close()


def _ranking(
    this: _Pass, needs: Needs, group: Sequence[TaskView]
) -> tuple[rank.Ranking | rank.Shared, list[str]]:
    allowed = _allowed(this, needs)
    task = group[0].task
    tasks = this.world.tasks_of(task.stack, task.service)
    avoid = rank.failing(tasks, task.revision, this.draft.now)
    if needs.placement.spread:
        return _tree(this, needs, allowed, avoid), list(allowed.reasons)
    shared = rank.Shared(needs.like, allowed.idle, this.load)
    busy = {view.task.node for view in tasks} | this.given[needs.service] | avoid
    for node in busy & allowed.named.keys():
        if node in avoid or this.load(node).of(needs.service):
            shared.add(allowed.named[node], avoid=node in avoid)
    return shared, list(allowed.reasons)


def _tree(this: _Pass, needs: Needs, allowed: _Allowed, avoid: set[str]) -> rank.Ranking:
    ranking = rank.Ranking(needs.like, needs.placement.spread, avoid, this.load)
    for view in allowed.nodes:
        ranking.add(view)
    ranking.seal()
    return ranking


def _allowed(this: _Pass, needs: Needs) -> _Allowed:
    key = (needs.placement, needs.platforms)
    found = this.allowed.get(key)
    if found is None:
        reasons = [(view, filters.fixed(needs, view)) for view in this.nodes]
        nodes = tuple(view for view, reason in reasons if not reason)
        found = _Allowed(
            nodes,
            tuple(reason for _, reason in reasons if reason),
            {view.node.id: view for view in nodes},
            rank.Idle(nodes, this.load),
        )
        this.allowed[key] = found
    return found


def _place_bound(this: _Pass, view: TaskView, needs: Needs, names: Sequence[str]) -> None:
    """A task that must be on a certain node, or binds its slot to the one it gets."""
    home = {} if view.task.node else volumes.homes(this.world, view.task, names)
    only = {view.task.node} if view.task.node else set(home)
    allowed = _allowed(this, needs)
    candidates = [n for n in allowed.nodes if not only or n.node.id in only]
    scored: list[tuple[rank.Score, NodeView]] = []
    reasons = [r for n in this.nodes if (r := filters.fixed(needs, n)) if _in(n, only)]
    for node in candidates:
        load = this.load(node.node.id)
        reason = filters.room(needs, node, load, view.task.slot) or volumes.going(
            this.world, node.node.id, names
        )
        reasons += [reason] if reason else []
        if not reason:
            scored.append((rank.score(load, needs.like, node.node.id), node))
    if not scored:
        away = volumes.away(this.world, view.task, home) if home else ""
        _cannot(this, view, away or filters.explain(reasons))
        return
    chosen = min(scored)[1].node.id
    bindings = volumes.bind(this.world, view.task, names, chosen, this.draft.now)
    if any(binding.key in this.bound for binding in bindings):
        return
    this.bound.update(binding.key for binding in bindings)
    _assign(this, view, chosen, needs, bindings)


def _in(view: NodeView, only: set[str]) -> bool:
    return not only or view.node.id in only


def _assign(this: _Pass, view: TaskView, node: str, needs: Needs, also: Sequence[Record]) -> None:
    now = this.draft.now
    this.load(node).add(needs.like, view.task.slot, needs.resources)
    this.given[needs.service].add(node)
    status = msgspec.structs.replace(
        view.status, state=TaskState.ASSIGNED, at=now, seen=now, error=""
    )
    task = msgspec.structs.replace(view.task, node=node)
    this.draft.group(
        [task, status, *also],
        [ref(TaskDesired, task.id), ref(Node, node), ref(NodeStatus, node)],
    )


def _cannot(this: _Pass, view: TaskView, error: str) -> None:
    if view.status.error != error:
        this.draft.group([msgspec.structs.replace(view.status, error=error)])


@dataclass(frozen=True)
class Room:
    """How many of the wanted tasks there is room for, and what stands against more."""

    placed: int
    reason: str = ""


def can_place(
    world: World, stack: str, spec: ServiceSpec, count: int, beside: Loads | None = None
) -> Room:
    """How many of `count` further tasks of a service the cluster could take now; those are added
    to `beside`, which begins empty and serves for several services that come together."""
    needs = Needs(
        service=service_key(stack, spec.name),
        placement=spec.placement,
        resources=spec.container.resources,
    )
    loads = Loads() if beside is None else beside
    this = _Pass(world, Draft(0, str), loads, tuple(fit.node_views(world)))
    allowed = _allowed(this, needs)
    ranking = _tree(this, needs, allowed, set())
    reasons = list(allowed.reasons)
    for number in range(count):
        slot = f"new-{number}"

        def usable(node: NodeView, slot: str = slot) -> str:
            return filters.room(needs, node, this.load(node.node.id), slot)

        found, more = ranking.take(usable)
        reasons += more
        if found is None:
            return Room(number, filters.explain(reasons))
        this.load(found.node.id).add(needs.like, slot, needs.resources)
    return Room(count)


def touched(decision: Decision) -> set[str]:
    """Nodes that a decision places tasks on: until it is written, their loads are guesses."""
    return {
        change.record.node
        for commit in decision.commits
        for change in commit.changes
        if isinstance(change, Put) and isinstance(change.record, Task)
    }
