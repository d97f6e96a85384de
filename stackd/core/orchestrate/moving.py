"""Which tasks must be replaced although they run, and which of them may begin now.

Called by `service`. A node that is drained, or fits no more, gives its tasks up at the pace of the
service's own rollouts: within max_surge, max_unavailable and parallelism, and the next only when
the replacement of the one before is ready.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stackd.core.model import fit
from stackd.core.model.ids import TaskId
from stackd.core.model.node import Node
from stackd.core.model.stack import Mode, ServiceSpec
from stackd.core.model.strategy import StrategyKind
from stackd.core.model.world import TaskView, World


@dataclass(frozen=True)
class Moves:
    """The tasks that must be replaced, each with the reason."""

    at_once: Mapping[TaskId, str]
    paced: Mapping[TaskId, str]

    @property
    def all(self) -> Mapping[TaskId, str]:
        """Both."""
        return {**self.at_once, **self.paced}


@dataclass(frozen=True)
class Wish:
    """How many tasks a service should have: of each revision just now, and in all. A rollout that
    stops first has taken away what it has not given to the new revision yet."""

    counts: Mapping[str, int]
    replicas: int


def exclusive(spec: ServiceSpec) -> bool:
    """A new task of a slot waits until the old one has ended."""
    strategy = spec.strategy
    return strategy.kind is StrategyKind.RECREATE or strategy.max_surge.value == 0


def moves(world: World, views: Sequence[TaskView], spec: ServiceSpec) -> Moves:
    """What must be replaced of a service's tasks."""
    at_once: dict[TaskId, str] = {}
    paced: dict[TaskId, str] = {}
    for view in views:
        if not (view.wanted and view.live):
            continue
        if view.task.slot.isdigit() is (spec.mode is Mode.GLOBAL):
            at_once[view.task.id] = "the service's mode has changed"
        elif not view.task.node or fit.lost(world, view):
            continue  # a node that is down keeps its tasks until `deadlines` gives them up
        elif view.status.failing:
            at_once[view.task.id] = view.status.error
        elif why := leaves(world, view, spec):
            (at_once if spec.mode is Mode.GLOBAL else paced)[view.task.id] = why
    return Moves(at_once, paced)


def leaves(world: World, view: TaskView, spec: ServiceSpec) -> str:
    """Why the task's node has to give it up; '' when it stays there."""
    node = fit.node_view(world, view.task.node)
    if node is None:
        return "its node is no longer a member"
    if not fit.fits(node, spec.placement):
        return f"{node.node.name} does not fit any more"
    if node.keeps or stays(world, view, spec):
        return ""
    return f"{node.node.name} is being drained"


def stays(world: World, view: TaskView, spec: ServiceSpec) -> str:
    """Why a task cannot leave a node that is drained, as far as that is known before it is tried:
    to stop it would only end it. '' when it can."""
    if spec.mode is Mode.GLOBAL:
        return ""
    volume = fit.bound(world, view.task)
    if volume:
        node = world.get(Node, view.task.node)
        return f"its volume {volume} is on {node.name if node else view.task.node}"
    others = (n for n in fit.node_views(world) if n.node.id != view.task.node)
    if exclusive(spec) and not any(n.open and fit.fits(n, spec.placement) for n in others):
        return "no other node may take it"
    return ""


def begun(found: Moves, views: Sequence[TaskView], wish: Wish, spec: ServiceSpec) -> set[TaskId]:
    """Those of the tasks to be replaced whose replacement goes on or may begin now.

    `views`: the service's tasks but for those that are lost.
    """
    total = max(wish.replicas, sum(wish.counts.values()))
    live = [view for view in views if view.live]
    moving = [view for view in live if view.task.id in found.paced]
    moving.sort(key=lambda view: (view.ready, len(view.task.slot), view.task.slot))
    surge, unavailable = spec.strategy.limits(total)
    now = set(found.at_once)
    if exclusive(spec):
        wanted = [view for view in live if view.wanted]
        have = Counter(view.task.revision for view in wanted)
        going = sum(max(0, number - wish.counts.get(r, 0)) for r, number in have.items())
        ready = sum(view.ready for view in wanted)
        spare = ready - going - (total - max(1, unavailable))
        broken = [view for view in moving if not view.ready]
        whole = [view for view in moving if view.ready]
        return now.union(v.task.id for v in (*broken, *whole[: max(0, spare)]))
    replaced = _replaced(live, found)
    going_on = [view for view in moving if view.task.slot in replaced]
    room = total + surge - len(live)
    if spec.strategy.parallelism:
        room = min(room, spec.strategy.parallelism - len(going_on))
    rest = [view for view in moving if view.task.slot not in replaced]
    return now.union(v.task.id for v in (*going_on, *rest[: max(0, room)]))


def _replaced(live: Sequence[TaskView], found: Moves) -> set[str]:
    """Slots in which a task to be replaced has its replacement beside it."""
    revisions: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for view in live:
        if view.wanted:
            key = (view.task.slot, view.task.revision)
            revisions[key].append(view.task.id in found.all)
    return {slot for (slot, _), leave in revisions.items() if any(leave) and not all(leave)}
