"""The scheduler loop: places pending tasks (`core.schedule.assign`)."""

from collections.abc import Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.release import Stack
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import World
from stackd.core.schedule import assign
from stackd.core.schedule.load import Loads
from stackd.manager import concerned
from stackd.manager.loop import ControlLoop

WATCHES = (Task, TaskDesired, TaskStatus, Node, NodeStatus, VolumeBinding, Stack)


class _Scheduler:
    """Remembers only which tasks are pending and what nodes carry: both could be counted anew."""

    def __init__(self) -> None:
        self._pending: set[str] = set()
        self._loads = Loads()
        self._touched: set[str] = set()

    def __call__(self, world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        if dirty.everything:
            self._loads.clear()
            changed = {task.key for task in world.all(Task)}
        else:
            changed = {r.key for r in dirty.refs if r.table in concerned.TASK_TABLES}
        for node in self._touched:
            self._loads.forget(node)
        for task_id in changed:
            task = world.get(Task, task_id)
            view = world.task(task_id) if task else None
            if view is not None and view.status.state is TaskState.PENDING:
                self._pending.add(task_id)
            else:
                self._pending.discard(task_id)
            if task is not None and task.node:
                self._loads.forget(task.node)
        decision = assign.decide(world, self._pending, self._loads, now, ids.__next__)
        self._touched = assign.touched(decision)
        return decision


def scheduler() -> ControlLoop:
    """The loop, for one term of a leader."""
    return ControlLoop("scheduler", WATCHES, _Scheduler())
