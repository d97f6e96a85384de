"""Which of the nodes that can take a task is the best: spread first, then the least busy.

Called by `assign`. A `Ranking` is a tree with one level per spread preference; its leaves are
heaps of nodes. Without preferences `Shared` does the same with one heap of idle nodes for all
services of a pass, so that a service costs what it has, not what the cluster has. Order: nodes
with 5 or more failures of this revision in the last 5 minutes last, then fewest tasks of this
revision, then of this service, then fewest tasks in all, then by id. The revision comes first
because tasks that a rollout replaces go after it: what they even out is uneven without them.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stackd.core.model import fit
from stackd.core.model.fit import NodeView
from stackd.core.model.states import TaskState
from stackd.core.model.world import TaskView
from stackd.core.schedule.load import Like, Load

FAILURES = 5
WINDOW = 300.0

Score = tuple[bool, int, int, int, str]


def score(load: Load, like: Like, name: str, *, avoid: bool = False, more: int = 0) -> Score:
    """How good a node is, smaller is better; `more`: tasks it gets that `load` does not count."""
    tasks = load.of(like.service) + more
    return avoid, load.staying(like) + more, tasks, load.tasks + more, name


@dataclass
class Branch:
    """A part of the cluster. `own`, `tasks`: tasks of the revision and of the service in it."""

    own: int = 0
    tasks: int = 0
    children: dict[str, "Branch"] = field(default_factory=dict)
    heap: list[tuple[Score, NodeView]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """No node is left in it."""
        return not self.heap and all(child.empty for child in self.children.values())


def failing(views: Sequence[TaskView], revision: str, now: float) -> set[str]:
    """Nodes on which a revision has failed too often lately."""
    counts: dict[str, int] = {}
    for view in views:
        bad = view.status.state in (TaskState.FAILED, TaskState.REJECTED) or view.desired.failed
        if bad and view.task.revision == revision and view.status.seen > now - WINDOW:
            counts[view.task.node] = counts.get(view.task.node, 0) + 1
    return {node for node, count in counts.items() if count >= FAILURES}


class Ranking:
    """Candidates of one group of like tasks, best first."""

    def __init__(
        self, like: Like, spread: Sequence[str], avoid: set[str], loads: Callable[[str], Load]
    ) -> None:
        self._like = like
        self._spread = spread
        self._avoid = avoid
        self._loads = loads
        self._root = Branch()

    def add(self, view: NodeView) -> None:
        """A candidate."""
        load = self._loads(view.node.id)
        own, tasks = load.staying(self._like), load.of(self._like.service)
        leaf = self._root
        for value in self._path(view) if self._spread else ():
            leaf = leaf.children.setdefault(value, Branch())
            leaf.own += own
            leaf.tasks += tasks
        name = view.node.id
        leaf.heap.append((score(load, self._like, name, avoid=name in self._avoid), view))

    def seal(self) -> None:
        """After the last `add`."""
        _heapify(self._root)

    def close(self) -> None:
        """Nothing is shared."""

    def take(
        self, usable: Callable[[NodeView], str], *, retry: bool = False
    ) -> tuple[NodeView | None, list[str]]:
        """The best node that `usable` has nothing against, and the reasons against others.

        A refused node leaves the ranking, unless `retry`: it may do for the next task.
        """
        reasons: list[str] = []
        refused: list[tuple[Branch, tuple[Score, NodeView]]] = []
        found: NodeView | None = None
        while found is None and (path := _best(self._root)) is not None:
            leaf = path[-1]
            best = heapq.heappop(leaf.heap)
            reason = usable(best[1])
            if reason:
                reasons.append(reason)
                refused.append((leaf, best))
                continue
            found = best[1]
            for branch in path:
                branch.own += 1
                branch.tasks += 1
            self._loads_changed(leaf, found)
        for leaf, entry in refused if retry else ():
            heapq.heappush(leaf.heap, entry)
        return found, reasons

    def _loads_changed(self, leaf: Branch, view: NodeView) -> None:
        load, name = self._loads(view.node.id), view.node.id
        found = score(load, self._like, name, avoid=name in self._avoid, more=1)
        heapq.heappush(leaf.heap, (found, view))

    def _path(self, view: NodeView) -> list[str]:
        return [fit.fact(view, key) or "" for key in self._spread]


class Idle:
    """Nodes by how much they carry, shared by all groups of a pass that the same nodes allow."""

    def __init__(self, nodes: Iterable[NodeView], loads: Callable[[str], Load]) -> None:
        self._loads = loads
        self._heap = [(loads(view.node.id).tasks, str(view.node.id), view) for view in nodes]
        heapq.heapify(self._heap)

    def take(self) -> NodeView | None:
        """The node with the fewest tasks; it is gone from here until it is put back."""
        while self._heap:
            tasks, name, view = self._heap[0]
            now = self._loads(name).tasks
            if now == tasks:
                heapq.heappop(self._heap)
                return view
            heapq.heapreplace(self._heap, (now, name, view))
        return None

    def put(self, view: NodeView) -> None:
        """It may be taken again."""
        name = str(view.node.id)
        heapq.heappush(self._heap, (self._loads(name).tasks, name, view))


class Shared:
    """Candidates of one group of like tasks without spread preferences, best first: idle nodes,
    then those with tasks of the service, then those where it fails."""

    def __init__(self, like: Like, idle: Idle, loads: Callable[[str], Load]) -> None:
        self._like = like
        self._idle = idle
        self._loads = loads
        self._own: list[tuple[Score, NodeView]] = []
        self._names: set[str] = set()
        self._held: list[NodeView] = []

    def add(self, view: NodeView, *, avoid: bool) -> None:
        """A candidate that has tasks of the service already, or is to be avoided."""
        self._names.add(view.node.id)
        heapq.heappush(self._own, (self._score(view, avoid=avoid), view))

    def take(
        self, usable: Callable[[NodeView], str], *, retry: bool = False
    ) -> tuple[NodeView | None, list[str]]:
        """As `Ranking.take`."""
        reasons: list[str] = []
        again: list[tuple[Score, NodeView]] = []
        found: NodeView | None = None
        while found is None and (best := self._next()) is not None:
            view = best[1]
            reason = usable(view)
            if reason:
                reasons.append(reason)
                again.append(best)
                continue
            found = view
            self._names.add(view.node.id)
            self._push(view, avoid=best[0][0])
        for entry in again if retry else ():
            self._names.add(entry[1].node.id)
            heapq.heappush(self._own, entry)
        return found, reasons

    def close(self) -> None:
        """Give the idle nodes back, once their loads are what they are now."""
        for view in self._held:
            self._idle.put(view)
        self._held.clear()

    def _next(self) -> tuple[Score, NodeView] | None:
        if self._own and self._own[0][0][:3] == (False, 0, 0):
            return heapq.heappop(self._own)  # idle too: it had no room for another task
        while (view := self._idle.take()) is not None:
            self._held.append(view)
            if view.node.id not in self._names:
                return self._score(view, avoid=False), view
        return heapq.heappop(self._own) if self._own else None

    def _score(self, view: NodeView, *, avoid: bool, more: int = 0) -> Score:
        name = view.node.id
        return score(self._loads(name), self._like, name, avoid=avoid, more=more)

    def _push(self, view: NodeView, *, avoid: bool) -> None:
        heapq.heappush(self._own, (self._score(view, avoid=avoid, more=1), view))


def _heapify(branch: Branch) -> None:
    heapq.heapify(branch.heap)
    for child in branch.children.values():
        _heapify(child)


def _best(root: Branch) -> list[Branch] | None:
    """The branches from the root to the leaf with the fewest tasks that has a node left."""
    path = [root]
    while path[-1].children:
        open_ = [(c.own, c.tasks, name) for name, c in path[-1].children.items() if not c.empty]
        if not open_:
            return None
        path.append(path[-1].children[min(open_)[2]])
    return path if path[-1].heap else None
