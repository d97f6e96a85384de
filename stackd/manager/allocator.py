"""The allocator loop: networks, virtual addresses, open ports, addresses of tasks
(`core.network.allocate`)."""

from collections.abc import Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import World
from stackd.core.network import allocate
from stackd.manager import concerned
from stackd.manager.loop import ControlLoop

WATCHES = (Stack, ServiceState, Network, ServiceAddresses, Task, TaskDesired, TaskStatus)


class _Allocator:
    """Remembers only which tasks are NEW, so that a pass need not look for them."""

    def __init__(self, settings: allocate.Settings) -> None:
        self._settings = settings
        self._new: set[str] = set()

    def __call__(self, world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        if dirty.everything:
            stacks = {stack.name for stack in world.all(Stack)}
            changed = {task.key for task in world.all(Task)}
        else:
            stacks = {_stack(world, r.table, r.key) for r in dirty.refs} - {""}
            changed = {r.key for r in dirty.refs if r.table in concerned.TASK_TABLES}
        for task_id in changed:
            view = world.task(task_id)
            if view is not None and view.status.state is TaskState.NEW:
                self._new.add(task_id)
            else:
                self._new.discard(task_id)
        waiting = {view.task.stack for t in self._new if (view := world.task(t)) is not None}
        return allocate.decide(
            world, stacks | waiting, self._new, now, ids.__next__, self._settings
        )


def _stack(world: World, table: str, key: str) -> str:
    if table == Network.TABLE:
        network = world.get(Network, key)
        return network.stack if network else ""
    return key.split("/", 1)[0] if table not in concerned.TASK_TABLES else ""


def allocator(settings: allocate.Settings) -> ControlLoop:
    """The loop, for one term of a leader."""
    return ControlLoop("allocator", WATCHES, _Allocator(settings))
