"""Agents that only report: they accept, prepare, start and end tasks as a script says.

A behaviour is looked up by `SERVICE@REVISION`, then `SERVICE`, then the default.
"""

from dataclasses import dataclass, field

import msgspec

from stackd.core.model.states import Health, TaskState
from stackd.core.model.task import TaskStatus
from stackd.core.model.world import TaskView, World


@dataclass(frozen=True)
class Behaviour:
    """How tasks of a revision behave. Times in seconds."""

    prepare: float = 0.2
    start: float = 0.5
    """From STARTING to RUNNING and ready; infinite = never ready."""
    fail_after: float | None = None
    """From its start until it ends with `exit_code`."""
    exit_code: int = 1
    reject: str = ""
    """Why it cannot be prepared."""
    accepts: bool = True
    stop: float = 0.3


@dataclass
class FakeAgents:
    """The agents of all nodes. `silent` nodes neither run nor report anything."""

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    stopping: dict[str, float] = field(default_factory=dict)

    def behaviour(self, view: TaskView) -> Behaviour:
        task = view.task
        by_revision = self.behaviours.get(f"{task.service}@{task.revision}")
        return by_revision or self.behaviours.get(task.service) or Behaviour()

    def due(self, world: World, view: TaskView, now: float) -> tuple[float, TaskStatus] | None:
        """When the task's next report comes, and what it says."""
        status, acts = view.status, self.behaviour(view)
        if status.state.finished or status.state < TaskState.ASSIGNED:
            return None
        if view.task.node in self.silent:
            return None
        if view.desired.state >= TaskState.SHUTDOWN:
            asked = self.stopping.setdefault(view.task.id, now)
            return asked + acts.stop, self._new(status, TaskState.SHUTDOWN)
        match status.state:
            case TaskState.ASSIGNED:
                return (now, self._new(status, TaskState.ACCEPTED)) if acts.accepts else None
            case TaskState.ACCEPTED:
                return now, self._new(status, TaskState.PREPARING)
            case TaskState.PREPARING if acts.reject:
                at = status.seen + acts.prepare
                return at, self._new(status, TaskState.REJECTED, error=acts.reject)
            case TaskState.PREPARING:
                return status.seen + acts.prepare, self._new(status, TaskState.READY)
            case TaskState.READY:
                return now, self._new(status, TaskState.STARTING, Health.STARTING)
            case TaskState.STARTING | TaskState.RUNNING:
                return self._running(status, acts)
        return None

    def _running(self, status: TaskStatus, acts: Behaviour) -> tuple[float, TaskStatus] | None:
        failed = self._new(
            status, TaskState.FAILED, error=f"exit code {acts.exit_code}", code=acts.exit_code
        )
        if acts.exit_code == 0:
            failed = self._new(status, TaskState.COMPLETE, code=0)
        if status.state is TaskState.STARTING:
            if acts.fail_after is not None and acts.fail_after <= acts.start:
                return status.seen + acts.fail_after, failed
            if acts.start == float("inf"):
                return None
            ready = self._new(status, TaskState.RUNNING, Health.HEALTHY)
            return status.seen + acts.start, msgspec.structs.replace(ready, ready=True)
        if acts.fail_after is None:
            return None
        return status.seen + acts.fail_after - acts.start, failed

    @staticmethod
    def _new(
        status: TaskStatus,
        state: TaskState,
        health: Health = Health.NONE,
        error: str = "",
        code: int | None = None,
    ) -> TaskStatus:
        return msgspec.structs.replace(
            status, state=state, health=health, ready=False, error=error, exit_code=code
        )
