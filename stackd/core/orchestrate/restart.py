"""When an ended task is replaced, and after which delay.

Called by `slots`. Nothing is remembered outside the store: a task carries how many unexpected ends
in a row led to it (`Task.attempt`), and the slot's finished tasks are kept.

The rule: the first replacement comes at once, the next after `delay`, doubling up to `max_delay`.
A task that was ready for at least `max_delay` before it ended starts the count again, unless
`max_attempts` is set without a `window`: then all attempts count, for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stackd.core.model.stack import RestartCondition, RestartPolicy
from stackd.core.model.states import TaskState
from stackd.core.model.world import TaskView


@dataclass(frozen=True)
class Restart:
    """How the next task of a slot starts: its attempt number and its earliest time."""

    attempt: int = 0
    not_before: float = 0


def unexpected(view: TaskView) -> bool:
    """The task ended, or is being ended, by its own fault: it was not asked to go for another
    reason, nor lost with its node."""
    if view.desired.failed:
        return True
    return (
        view.status.state in (TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED)
        and not view.desired.stop
    )


def next_start(policy: RestartPolicy, ended: Sequence[TaskView]) -> Restart | None:
    """How the slot's task is replaced; None when the policy wants no further one.

    `ended`: the slot's tasks of this revision that have ended or are being ended, oldest first.
    """
    if not ended:
        return Restart()
    last = ended[-1]
    if not unexpected(last):
        return Restart()
    if not _wants(policy, last):
        return None
    forever = policy.max_attempts > 0 and policy.window <= 0
    attempt = 1 if _ran_long(policy, last) and not forever else last.task.attempt + 1
    when = last.status.seen if last.status.state.finished else last.desired.stop_at
    if policy.max_attempts > 0:
        recent = attempt
        if policy.window > 0:
            recent = sum(1 for v in ended if unexpected(v) and v.status.seen > when - policy.window)
        if recent > policy.max_attempts:
            return None
    return Restart(attempt=attempt, not_before=when + delay(policy, attempt))


def delay(policy: RestartPolicy, attempt: int) -> float:
    """Seconds between the end of a task and the start of its replacement."""
    if attempt <= 1:
        return 0
    return min(policy.max_delay, policy.delay * float(1 << min(attempt - 2, 30)))


def _wants(policy: RestartPolicy, last: TaskView) -> bool:
    match policy.condition:
        case RestartCondition.NONE:
            return False
        case RestartCondition.ON_FAILURE:
            return last.status.state is not TaskState.COMPLETE
        case RestartCondition.ANY:
            return True


def _ran_long(policy: RestartPolicy, last: TaskView) -> bool:
    ready_at = last.status.ready_at
    return bool(ready_at) and last.status.seen - ready_at >= policy.max_delay
