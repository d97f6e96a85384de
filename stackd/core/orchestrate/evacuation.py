"""What is left on a node that is drained, and what each task waits for. Called by `node drain`.

What waits by itself goes on without help; what is `stuck` stays until somebody does something.
"""

from dataclasses import dataclass

from stackd.core.model import fit
from stackd.core.model.node import NodeReport
from stackd.core.model.states import Leaving, TaskState
from stackd.core.model.world import TaskView, World
from stackd.core.orchestrate import moving


@dataclass(frozen=True)
class Remaining:
    """A task that is still on the node, and why."""

    name: str
    text: str
    stuck: bool = False


def remaining(world: World, node: str) -> list[Remaining]:
    """The live tasks of a node, by name."""
    found = [_remaining(world, view) for view in world.tasks_on(node) if view.live]
    return sorted(found, key=lambda left: (not left.stuck, left.name))


def _remaining(world: World, view: TaskView) -> Remaining:
    task = view.task
    own = fit.node_view(world, task.node)
    slot = own.node.name if own is not None and task.slot == task.node else task.slot
    name = f"{task.stack}/{task.service}.{slot}"
    if fit.lost(world, view):
        return Remaining(name, "its node is down", stuck=bool(fit.bound(world, task)))
    if view.desired.stop or view.desired.state is not TaskState.RUNNING:
        return Remaining(name, _leaving(world, view))
    spec = world.declared(task.stack, task.service)
    if spec is not None and (why := moving.stays(world, view, spec)):
        return Remaining(name, why, stuck=True)
    beside = [
        other
        for other in world.tasks_of(task.stack, task.service)
        if other.live and other.wanted and other.task.slot == task.slot and other != view
    ]
    if not beside:
        return Remaining(name, "its turn has not come")
    new = max(beside, key=lambda other: (other.task.created, other.task.id))
    why = f": {new.status.error}" if new.status.error else ""
    return Remaining(name, f"its replacement is {new.status.state.label}{why}")


def _leaving(world: World, view: TaskView) -> str:
    if view.desired.leaving in (Leaving.NO, Leaving.DONE):
        return "it is stopping"
    count = sum(report.in_flight.get(view.task.id, 0) for report in world.all(NodeReport))
    return f"it is {view.desired.leaving.value}, {count} in flight"


def summary(left: list[Remaining]) -> str:
    """One line: how many are left, and what the first few wait for."""
    if not left:
        return "nothing is left on it"
    number = "1 task is left" if len(left) == 1 else f"{len(left)} tasks are left"
    shown = "; ".join(f"{one.name}: {one.text}" for one in left[:3])
    more = f"; and {len(left) - 3} more" if len(left) > 3 else ""
    return f"{number}: {shown}{more}"
