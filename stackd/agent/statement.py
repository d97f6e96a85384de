"""What this node says of one task: each status follows from the last, and no state is taken back.

Made and used by `agent.task`.
"""

from collections.abc import Callable

import msgspec

from stackd.aio.clock import Clock
from stackd.core.container.lifecycle import End
from stackd.core.model.driver import Exit
from stackd.core.model.ids import TaskId
from stackd.core.model.states import Health, TaskState
from stackd.core.model.task import TaskStatus

Report = Callable[[TaskStatus], None]


class Statement:
    """The newest status of a task. `failing`: what is wrong with it while it goes on running."""

    def __init__(self, task: TaskId, report: Report, clock: Clock) -> None:
        self.status = TaskStatus(id=task, state=TaskState.ASSIGNED)
        self.failing = ""
        self._report = report
        self._clock = clock

    def again(self) -> None:
        """Say the same once more."""
        self._report(self.status)

    def unmade(self) -> None:
        """Say that its process is gone; the state stays."""
        self.status = msgspec.structs.replace(self.status, pid=0)
        self._report(self.status)

    def tell(
        self,
        state: TaskState,
        *,
        pid: int = 0,
        health: Health | None = None,
        ready: bool = False,
        error: str = "",
        proven: float = 0,
    ) -> None:
        """Say how it is now, unless that is what was said last."""
        old = self.status
        status = TaskStatus(
            id=old.id,
            state=max(state, old.state),
            health=old.health if health is None else health,
            ready=ready,
            proven=proven,
            at=self._clock.now() if state > old.state or not old.at else old.at,
            error=error or self.failing,
            failing=bool(self.failing),
            pid=pid or old.pid,
        )
        if status != old:
            self.status = status
            self._report(status)

    def end(self, end: End, exited: Exit | None) -> None:
        """Say that it is over, and how its container ended."""
        old, ended = self.status, exited or Exit(code=None)
        self.status = TaskStatus(
            id=old.id,
            state=max(end.state, old.state),
            health=old.health,
            at=self._clock.now(),
            error=end.error or ("" if old.ready else old.error),
            exit_code=ended.code,
            signal=ended.signal,
            oom_killed=ended.oom_killed,
        )
        self._report(self.status)
