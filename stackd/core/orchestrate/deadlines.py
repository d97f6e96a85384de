"""A deadline for every state on the way to running and to stopped, with a stated cause.

Called by the reaper loop for the tasks that are live. The manager writes a status only before
ASSIGNED, or ORPHANED; later states are ended by asking the task to go (`failed` = it counts).
"""

from dataclasses import dataclass

import msgspec

from stackd.core.model import fit
from stackd.core.model.container import HealthCheck, MountKind
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.ids import service_key
from stackd.core.model.node import Node
from stackd.core.model.record import Record, ref
from stackd.core.model.release import Revision
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.states import Health, Leaving, TaskState
from stackd.core.model.task import TaskDesired, TaskStatus
from stackd.core.model.world import TaskView, World

PENDING = 120.0
ACCEPTING = 30.0
PREPARING = 600.0
READY = 120.0
STARTING = 60.0
"""At least; the health check's own times when they are longer."""
STOPPING = 10.0
"""On top of drain_timeout and the grace period."""

_RUNNING_ROLLOUT = (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK)


@dataclass(frozen=True)
class Deadline:
    """When a task's state must be over (seconds on the manager's clock), and what it means."""

    at: float
    text: str


def decide(world: World, task_id: str, now: float, since: float, ids: Ids) -> Decision:
    """End a task whose state has lasted too long or whose node is lost.

    `since`: when this manager began to lead; time before it does not count.
    """
    view = world.task(task_id)
    draft = Draft(now, ids)
    if view is None or not view.live:
        return draft.decision()
    if fit.lost(world, view) and _elsewhere(world, view):
        draft.group(_orphan(draft, view, f"{_node(world, view)} is down"))
        return draft.decision()
    due = deadline(world, view, since)
    if due is None:
        return draft.decision()
    if due.at > now:
        return draft.decision(wake_at=due.at)
    draft.group(_expire(draft, view, due.text), [ref(TaskStatus, task_id)])
    return draft.decision()


def deadline(world: World, view: TaskView, since: float = 0) -> Deadline | None:
    """When the task's present state must be over, or None when it may last."""
    if view.desired.stop or view.desired.state is not TaskState.RUNNING:
        return _stopping(world, view, since)
    seen = max(view.status.seen, since)
    node = _node(world, view)
    match view.status.state:
        case TaskState.NEW | TaskState.PENDING:
            if not _rolling(world, view):
                return None
            why = view.status.error or "nothing has placed it"
            return Deadline(
                max(seen, view.task.not_before) + PENDING, f"not placed within 2m: {why}"
            )
        case TaskState.ASSIGNED | TaskState.ACCEPTED:
            word = view.status.state.label
            return Deadline(seen + ACCEPTING, f"{word} for 30s: {node} did not go on with it")
        case TaskState.PREPARING:
            why = view.status.error or "the image or its mounts were not ready"
            return Deadline(seen + PREPARING, f"not prepared within 10m on {node}: {why}")
        case TaskState.READY:
            return Deadline(seen + READY, f"ready for 2m on {node} but not started")
        case TaskState.STARTING:
            limit = starting(world, view)
            why = view.status.error or "it was not ready"
            return Deadline(seen + limit, f"not ready within {limit:.0f}s of its start: {why}")
        case _:
            return None


def starting(world: World, view: TaskView) -> float:
    """Seconds a task may take from its start until it is ready."""
    task = view.task
    revision = world.get(Revision, f"{task.stack}/{task.service}/{task.revision}")
    check = revision.container.healthcheck if revision else None
    if check is None and view.status.health is not Health.NONE:
        check = HealthCheck()
    if check is None or check.disabled:
        return max(STARTING, task.monitor + STOPPING)
    period = 0.0 if check.start_period is None else check.start_period
    retries = 3 if check.retries is None else check.retries
    interval = 30.0 if check.interval is None else check.interval
    timeout = 30.0 if check.timeout is None else check.timeout
    return max(STARTING, period + (retries + 1) * (interval + timeout))


def _stopping(world: World, view: TaskView, since: float) -> Deadline | None:
    """A task that leaves the traffic is the drain loop's to time, unless its node is lost."""
    down = fit.lost(world, view)
    early = view.status.state < TaskState.ASSIGNED
    if view.desired.state is TaskState.RUNNING and not down and not early:
        return None
    task = view.task
    spec = world.declared(task.stack, task.service)
    drain = spec.strategy.drain_timeout if spec else 30.0
    revision = world.get(Revision, f"{task.stack}/{task.service}/{task.revision}")
    grace = revision.container.stop_grace_period if revision else 10.0
    limit = 0.0 if early else drain + grace + STOPPING
    began = max(view.desired.stop_at, since)
    why = f"{_node(world, view)} is down" if down else "its node did not report its end"
    return Deadline(began + limit, f"not stopped within {limit:.0f}s: {why}")


def _expire(draft: Draft, view: TaskView, text: str) -> list[Record]:
    name = f"{view.task.stack}/{view.task.service}.{view.task.slot}"
    early = view.status.state < TaskState.ASSIGNED
    if view.desired.stop:
        if early:
            return [_status(draft, view, TaskState.SHUTDOWN, view.status.error)]
        return _orphan(draft, view, text)
    if early:
        return [_status(draft, view, TaskState.FAILED, text)]
    event = draft.event("task.expired", name, text, view.task.cause)
    asked = msgspec.structs.replace(
        view.desired, stop=True, failed=True, reason=text, stop_at=draft.now, cause=event.id
    )
    return [asked, event]


def _orphan(draft: Draft, view: TaskView, text: str) -> list[Record]:
    """Given up: its node is told to end it, whenever it is heard again."""
    name = f"{view.task.stack}/{view.task.service}.{view.task.slot}"
    event = draft.event("task.orphaned", name, text, view.desired.cause)
    gone = TaskDesired(
        id=view.task.id,
        state=TaskState.SHUTDOWN,
        leaving=Leaving.DONE,
        stop=True,
        stop_at=view.desired.stop_at or draft.now,
        reason=view.desired.reason or text,
        cause=event.id,
        failed=view.desired.failed,
    )
    return [_status(draft, view, TaskState.ORPHANED, text), gone, event]


def _status(draft: Draft, view: TaskView, state: TaskState, error: str) -> TaskStatus:
    return msgspec.structs.replace(
        view.status, state=state, error=error, ready=False, at=draft.now, seen=draft.now
    )


def _rolling(world: World, view: TaskView) -> bool:
    state = world.get(ServiceState, service_key(view.task.stack, view.task.service))
    return (
        state is not None and state.rollout is not None and state.rollout.phase in _RUNNING_ROLLOUT
    )


def _elsewhere(world: World, view: TaskView) -> bool:
    """Whether giving the task up gains anything: another node could run it, or it was to end."""
    task = view.task
    revision = world.get(Revision, f"{task.stack}/{task.service}/{task.revision}")
    spec = world.declared(task.stack, task.service)
    if revision is None or any(m.kind is MountKind.VOLUME for m in revision.container.mounts):
        return False
    if view.desired.stop:
        return fit.anybody_heard(world)
    if spec is None:
        return False
    return task.slot != task.node and any(
        node.open and fit.fits(node, spec.placement) for node in fit.node_views(world)
    )


def _node(world: World, view: TaskView) -> str:
    node = world.get(Node, view.task.node) if view.task.node else None
    return node.name if node else (view.task.node or "no node")
