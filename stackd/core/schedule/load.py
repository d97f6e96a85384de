"""What nodes carry: tasks and reservations, counted per node and kept until something changes.

Called by `assign`. The scheduler loop keeps one `Loads` and drops the nodes that changed, so that
placing one task does not count them all again.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from stackd.core.model.container import Resources
from stackd.core.model.ids import service_key
from stackd.core.model.release import Revision
from stackd.core.model.states import TaskState
from stackd.core.model.world import TaskView, World


class Like(NamedTuple):
    """What like tasks have in common."""

    service: str
    """`STACK/SERVICE`."""
    revision: str


@dataclass
class Load:
    """The live tasks of one node."""

    tasks: int = 0
    cpus: float = 0
    memory: int = 0
    services: dict[str, int] = field(default_factory=dict)
    """`STACK/SERVICE` -> live tasks."""
    likes: dict[Like, int] = field(default_factory=dict)
    """Those of them that are not asked to go, by revision too."""
    slots: dict[str, set[str]] = field(default_factory=dict)
    """`STACK/SERVICE` -> the slots of those tasks."""

    def add(self, like: Like, slot: str, needs: Resources, *, stays: bool = True) -> None:
        """Count one more task; one that does not stay was asked to go."""
        self.tasks += 1
        self.cpus += needs.reserve_cpus
        self.memory += needs.reserve_memory
        self.services[like.service] = self.services.get(like.service, 0) + 1
        self.slots.setdefault(like.service, set()).add(slot)
        if stays:
            self.likes[like] = self.likes.get(like, 0) + 1

    def of(self, service: str) -> int:
        """Live tasks of a service."""
        return self.services.get(service, 0)

    def staying(self, like: Like) -> int:
        """Live tasks of a revision that are not asked to go."""
        return self.likes.get(like, 0)

    def other_slots(self, service: str, slot: str) -> int:
        """Slots of a service that are here, but for `slot`: old and new task of a replacement
        share one, so a cap per node never stands in the way of a replacement."""
        return len(self.slots.get(service, set()) - {slot})


class Loads:
    """Loads of nodes, counted when first asked for."""

    def __init__(self) -> None:
        self._loads: dict[str, Load] = {}

    def forget(self, node: str) -> None:
        """Count this node again when next asked."""
        self._loads.pop(node, None)

    def clear(self) -> None:
        """Count every node again when next asked."""
        self._loads.clear()

    def get(self, world: World, node: str) -> Load:
        """The load of a node; what is added to it stays until it is forgotten."""
        found = self._loads.get(node)
        if found is None:
            found = self._loads[node] = _count(world, node)
        return found


def _count(world: World, node: str) -> Load:
    load = Load()
    needs: dict[str, Resources] = {}
    for view in world.tasks_on(node):
        if view.live and placed(view):
            key = f"{view.task.stack}/{view.task.service}/{view.task.revision}"
            if key not in needs:
                revision = world.get(Revision, key)
                needs[key] = revision.container.resources if revision else Resources()
            like = Like(service_key(view.task.stack, view.task.service), view.task.revision)
            load.add(like, view.task.slot, needs[key], stays=view.wanted)
    return load


def placed(view: TaskView) -> bool:
    """The scheduler has placed the task: a global task is born with its node, but not placed."""
    return view.status.state >= TaskState.ASSIGNED
