"""Whether a rollout has failed: too many failed tasks, or no progress for too long.

Called by `service`. Time in which nobody looked counts for 15 s at most: a manager that was away
does not fail a rollout by coming back.
"""

from collections.abc import Mapping, Sequence

import msgspec

from stackd.core.model.analysis import Judgement, Verdict
from stackd.core.model.rollout import Rollout
from stackd.core.model.stack import RestartCondition, ServiceSpec
from stackd.core.model.states import TaskState
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.model.world import TaskView
from stackd.core.rollout import asked
from stackd.core.rollout.common import Observed
from stackd.core.rollout.pauses import STORE_EVERY

UNSEEN = 15.0


def count_failures(rollout: Rollout, views: Sequence[TaskView], spec: ServiceSpec) -> Rollout:
    """The rollout with every failed task of its target counted, each once. The orchestrator
    replaces a task of the target only when it has been counted."""
    known = {view.task.id for view in views}
    failed = [
        view.task.id
        for view in views
        if view.task.revision == rollout.target
        and view.task.created >= rollout.started
        and view.task.id not in rollout.counted
        and _failed(view, spec)
    ]
    if not failed:
        return rollout
    return msgspec.structs.replace(
        rollout,
        failures=rollout.failures + len(failed),
        counted=(*(t for t in rollout.counted if t in known), *failed),
    )


def _failed(view: TaskView, spec: ServiceSpec) -> bool:
    """Ended by its own fault, or out of time; ending with 0 is a fault where tasks must stay."""
    if view.desired.failed:
        return True
    if view.desired.stop:
        return False
    if view.status.state is TaskState.COMPLETE:
        return spec.restart.condition is RestartCondition.ANY
    return view.status.state in (TaskState.FAILED, TaskState.REJECTED)


def too_many(rollout: Rollout, policy: Strategy, views: Sequence[TaskView], wanted: int) -> str:
    """Why the failures are too many, or '' when they are not."""
    if rollout.failures <= policy.max_failure_ratio * max(1, wanted):
        return ""
    last = [v for v in views if v.task.id == rollout.counted[-1]] if rollout.counted else []
    number = "1 task" if rollout.failures == 1 else f"{rollout.failures} tasks"
    text = f"{number} of revision {rollout.target} failed"
    return f"{text}: {cause(last[0])}" if last else text


def refused(rollout: Rollout, answers: Mapping[str, Judgement], policy: Strategy) -> str:
    """Why an analysis that the rollout asks for refuses its target, or '' when none does."""
    for place in asked.analyses(policy, rollout):
        answer = answers.get(place)
        if answer is not None and answer.verdict is Verdict.FAIL:
            noun = "share" if policy.kind is StrategyKind.STAGED else "revision"
            what = f"{noun} {rollout.target} did not pass its analysis ({place})"
            return f"{what}: {answer.reason}" if answer.reason else what
    return ""


def cause(view: TaskView) -> str:
    """Why a task ended or does not get on, as far as it is known."""
    status = view.status
    if view.desired.failed and view.desired.reason:
        return view.desired.reason
    if status.error:
        return status.error
    if status.exit_code is not None:
        return f"exit code {status.exit_code}"
    return f"it is {status.state.label}"


def tick(rollout: Rollout, observed: Observed, policy: Strategy, now: float) -> Rollout:
    """The rollout with its progress and the time left noted."""
    if observed.score > rollout.best:
        return msgspec.structs.replace(
            rollout, best=observed.score, moved=now, deadline_left=policy.progress_deadline
        )
    if 0 <= now - rollout.moved < STORE_EVERY:
        return rollout
    left = rollout.deadline_left - _passed(rollout, now)
    return msgspec.structs.replace(rollout, moved=now, deadline_left=left)


def _passed(rollout: Rollout, now: float) -> float:
    return min(max(0.0, now - rollout.moved), UNSEEN)


def left(rollout: Rollout, now: float) -> float:
    """Seconds until the rollout has made no progress for too long."""
    return rollout.deadline_left - _passed(rollout, now)


def stuck(observed: Observed, policy: Strategy, views: Sequence[TaskView]) -> str:
    """What a rollout that makes no progress waits for."""
    limit = policy.progress_deadline
    if policy.kind is StrategyKind.STAGED:
        return f"no progress for {limit:g}s: not every node has applied its share"
    new = observed.tally(observed.target)
    text = f"no progress for {limit:g}s: {new.available} of {observed.wanted} tasks updated"
    waiting = [
        v
        for v in views
        if v.live and v.wanted and not v.ready and v.task.revision == observed.target
    ]
    if waiting:
        first = min(waiting, key=lambda v: v.task.created)
        text += f"; {first.task.service}.{first.task.slot}: {cause(first)}"
    elif observed.weights and not observed.applied:
        text += "; not every node has applied the weights"
    return f"{text}; {observed.blocked}" if observed.blocked else text
