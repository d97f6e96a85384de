"""What nodes carry while a plan is played, and the most they ever do.

Called by `virtual` at every change of a task, and by `simulate` for the answer.
"""

from dataclasses import dataclass, field

from stackd.core.model.api.simulation import NodePeak
from stackd.core.model.container import Resources
from stackd.core.model.fit import node_views
from stackd.core.model.ids import service_key
from stackd.core.model.release import Revision
from stackd.core.model.world import TaskView, World
from stackd.core.schedule.load import Loads, placed


@dataclass
class _Carried:
    """One node, now and at most."""

    tasks: int = 0
    cpus: float = 0.0
    memory: int = 0
    most_tasks: int = 0
    most_cpus: float = 0.0
    most_memory: int = 0

    def add(self, sign: int, needs: Resources) -> None:
        """One task more (1) or less (-1)."""
        self.tasks += sign
        self.cpus += sign * needs.reserve_cpus
        self.memory += sign * needs.reserve_memory
        self.mark()

    def mark(self) -> None:
        """Remember the most."""
        self.most_tasks = max(self.most_tasks, self.tasks)
        self.most_cpus = max(self.most_cpus, self.cpus)
        self.most_memory = max(self.most_memory, self.memory)


@dataclass
class Usage:
    """Of all nodes of a world whose tasks are noted when they change."""

    world: World
    _nodes: dict[str, _Carried] = field(default_factory=dict)
    _tasks: dict[str, tuple[str, Resources]] = field(default_factory=dict)

    def begin(self, stack: str) -> None:
        """Take in what is there; tasks of `stack` are those that will change."""
        loads = Loads()
        for view in node_views(self.world):
            load = loads.get(self.world, view.node.id)
            carried = _Carried(load.tasks, load.cpus, load.memory)
            carried.mark()
            self._nodes[view.node.id] = carried
        for found in self.world.tasks_of_stack(stack):
            if found.live and placed(found):
                self._tasks[found.task.id] = (found.task.node, self._needs(found))

    def note(self, task: str, view: TaskView | None) -> None:
        """A task has changed, or is gone (None)."""
        here = view is not None and view.live and placed(view)
        if view is not None and here and task not in self._tasks:
            needs = self._needs(view)
            self._tasks[task] = (view.task.node, needs)
            self._at(view.task.node).add(1, needs)
        elif not here and task in self._tasks:
            node, needs = self._tasks.pop(task)
            self._at(node).add(-1, needs)

    def peaks(self) -> tuple[NodePeak, ...]:
        """Of the nodes that ever carried something, by name."""
        found = []
        for view in node_views(self.world):
            most = self._at(view.node.id)
            if most.most_tasks:
                found.append(
                    NodePeak(
                        node=view.node.name,
                        tasks=most.most_tasks,
                        cpus=round(most.most_cpus, 6),
                        memory=most.most_memory,
                        has_cpus=view.status.cpus,
                        has_memory=view.status.memory,
                    )
                )
        return tuple(sorted(found, key=lambda peak: peak.node))

    def _at(self, node: str) -> _Carried:
        return self._nodes.setdefault(node, _Carried())

    def _needs(self, view: TaskView) -> Resources:
        task = view.task
        key = f"{service_key(task.stack, task.service)}/{task.revision}"
        revision = self.world.get(Revision, key)
        return revision.container.resources if revision else Resources()
