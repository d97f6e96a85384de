"""Which of an agent's words are taken, and as what. Late, repeated, foreign and backward reports
change nothing. Called by `manager.statuses`."""

import msgspec

from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus
from stackd.core.model.world import World

ERROR_LIMIT = 4096


def accepted(world: World, node: str, said: TaskStatus, now: float) -> TaskStatus | None:
    """The status to store, or None when there is nothing to take. `now`: the manager's clock."""
    view = world.task(said.id)
    if view is None or view.task.node != node:
        return None
    old = view.status
    if not TaskState.ACCEPTED <= said.state <= TaskState.REJECTED:
        return None
    if old.state < TaskState.ASSIGNED or old.state.finished or said.state < old.state:
        return None
    ready = said.ready and said.state is TaskState.RUNNING
    proven = max(0.0, min(said.proven, view.task.monitor))
    status = msgspec.structs.replace(
        said,
        ready=ready,
        proven=proven,
        error=said.error[:ERROR_LIMIT],
        seen=now if said.state is not old.state else old.seen,
        ready_at=old.ready_at or (now - proven if ready else 0.0),
    )
    return None if status == old else status
