"""One task of this node from assignment to the end: does what `core.container.lifecycle` says.

Whatever takes long runs as a job that leaves its result here and wakes the loop, so that being
asked to stop is noticed at once in every stage. Made and fed by `agent.worker`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import assert_never

from stackd.agent import health
from stackd.agent.machine import Machine
from stackd.agent.preparation import prepare
from stackd.agent.statement import Report, Statement
from stackd.aio import shortage
from stackd.aio.backoff import Backoff
from stackd.aio.loop import Bell
from stackd.core.container import lifecycle, probe
from stackd.core.container.adoption import adopted
from stackd.core.container.lifecycle import Act, End, Situation, Stage
from stackd.core.model.assignment import TaskItem
from stackd.core.model.driver import Exit, Found, ImageConfig
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus
from stackd.errors import StackdError, Unavailable

CLEAN_TRIES = 6
WRITABLE_BYTES = 10 * 1024**3
"""A task whose writable layer has become larger is ended."""
WRITABLE_SECONDS = 30.0
"""Between two looks at it."""
_log = logging.getLogger(__name__)
Job = Callable[[], Awaitable[None]]


class TaskRunner:
    """Drives one task. `run` returns when nothing of it is left on the node."""

    def __init__(self, item: TaskItem, machine: Machine, report: Report) -> None:
        self._item = item
        self._machine = machine
        self._said = Statement(item.task.id, report, machine.clock)
        self._stage = Stage.NOTHING
        self._image = ImageConfig()
        self._exit: Exit | None = None
        self._failure: End | None = None
        self._doom = ""
        self._forgotten = False
        self._over = False
        self._dirty = False
        self._preparing = 0.0
        self._started = 0.0
        self._stopping: float | None = None
        self._killed: float | None = None
        self._bell = Bell(machine.clock)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def ended(self) -> bool:
        """Nothing of it runs any more, and it has been cleaned up."""
        return self._said.status.state.finished and self._over

    def update(self, item: TaskItem) -> None:
        """The manager wants something else of it."""
        self._item = item
        self._bell.ring()

    def forget(self) -> None:
        """No longer assigned here: stop at once, report nothing."""
        self._forgotten = True
        self._bell.ring()

    def adopt(self, found: Found | None, status: TaskStatus | None) -> None:
        """Go on with what a former agent left: its container, and what it last said of it."""
        if status is not None:
            self._said.status = status
        where = adopted(found, self._said.status)
        self._stage, self._exit, self._dirty = where.stage, where.exit, where.dirty

    async def run(self) -> None:
        """Live the task to its end. Never raises but when cancelled, which leaves the container
        as it is."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            if self._said.status.state.finished:
                self._failure = End(state=self._said.status.state, error=self._said.status.error)
                self._stage = Stage.ENDED
            elif self._said.status.state < TaskState.ACCEPTED:
                self._said.tell(TaskState.ACCEPTED)
            else:
                self._said.again()
            if self._stage is Stage.STARTED:
                await self._resume()
            while (step := lifecycle.next_action(self._situation())).act is not Act.DONE:
                await self._do(step)
            for job in self._jobs.values():
                job.cancel()
        self._over = True

    def _situation(self) -> Situation:
        return Situation(
            stage=self._stage,
            wanted=self._item.desired.state,
            now=self._machine.clock.now(),
            grace=self._item.revision.container.stop_grace_period,
            forgotten=self._forgotten,
            doomed=bool(self._doom),
            preparing_since=self._preparing,
            stopping_since=self._stopping,
            killed_at=self._killed,
        )

    async def _do(self, step: lifecycle.Next) -> None:
        match step.act:
            case Act.WAIT:
                await self._wait(step.wake_at)
            case Act.PREPARE:
                self._stage = Stage.PREPARING
                self._preparing = self._machine.clock.now()
                self._said.tell(TaskState.PREPARING)
                self._spawn("work", self._prepare)
            case Act.EXPIRE:
                why = f": {self._said.status.error}" if self._said.status.error else ""
                self._broken(f"not prepared within {lifecycle.PREPARE_SECONDS / 60:.0f}m{why}")
            case Act.START:
                self._stage = Stage.STARTING
                self._said.tell(TaskState.STARTING)
                self._spawn("work", self._start)
            case Act.STOP:
                self._stopping = self._machine.clock.now()
                self._spawn("signal", self._signal)
            case Act.KILL:
                self._killed = self._machine.clock.now()
                self._spawn("signal", self._kill)
            case Act.CLEAN:
                self._stage = Stage.CLEANING
                await self._cancel("work", "health", "disk", "signal")
                self._spawn("work", self._clean)
            case Act.DONE:
                pass
            case never:
                assert_never(never)

    async def _wait(self, until: float | None) -> None:
        now = self._machine.clock.now()
        await self._bell.wait(None if until is None else until - now)

    def _spawn(self, name: str, job: Job) -> None:
        assert self._group is not None
        if (old := self._jobs.pop(name, None)) is not None:
            old.cancel()
        self._jobs[name] = self._group.create_task(self._guarded(name, job))

    async def _guarded(self, name: str, job: Job) -> None:
        """A job that fails for want of what the machine lacks for now is done again: that is no
        fault of the task."""
        pauses = Backoff(first=0.2, most=5.0)
        while True:
            try:
                await job()
            except Exception as error:
                if shortage.passing(error):
                    _log.warning("task %s: %s: %s", self._item.task.id, name, error)
                    await self._machine.clock.sleep(pauses.next())
                    continue
                if isinstance(error, StackdError):
                    self._broken(error.cause)
                else:
                    _log.exception("task %s: %s", self._item.task.id, name)
                    self._broken(f"the agent failed: {type(error).__name__}")
            self._bell.ring()
            return

    def _broken(self, cause: str) -> None:
        """A job could not do its work: before the start nobody else is to try here again."""
        before = self._said.status.state < TaskState.STARTING
        state = TaskState.REJECTED if before else TaskState.FAILED
        self._failure = self._failure or End(state=state, error=cause)
        if self._stage in (Stage.PREPARING, Stage.PREPARED, Stage.STARTING):
            self._stage = Stage.ENDED
        elif self._stage is Stage.STARTED:
            self._doom = self._doom or cause

    async def _cancel(self, *names: str) -> None:
        for name in names:
            job = self._jobs.pop(name, None)
            if job is not None:
                job.cancel()
                await asyncio.wait([job])

    async def _prepare(self) -> None:
        if self._dirty:
            self._said.unmade()  # before what shows that it never ran goes: `adopted`
            await self._sweep()

        def hindered(cause: str) -> None:
            self._said.tell(TaskState.PREPARING, error=cause)

        prepared = await prepare(self._machine, self._item, hindered)
        self._image = prepared.image
        self._stage = Stage.PREPARED
        self._said.tell(TaskState.READY, pid=prepared.pid)
        self._spawn("exit", self._await_exit)

    async def _resume(self) -> None:
        """Adopted: watch it as if this agent had made it."""
        self._spawn("exit", self._await_exit)
        container = self._item.revision.container
        try:
            self._image = (await self._machine.images.ensure(container.image)).config
        except StackdError as error:
            _log.warning("task %s: image unknown: %s", self._item.task.id, error.cause)
        self._watch_health()

    async def _await_exit(self) -> None:
        exited = await self._machine.runtime.wait(self._item.task.id)
        if exited.running and self._stage is Stage.STARTED and self._said.status.ready:
            self._said.failing = f"monitor lost: {exited.lost}"
            self._said.tell(self._said.status.state, ready=True)
            exited = await self._machine.runtime.wait(self._item.task.id)
        if self._stage in (Stage.PREPARED, Stage.STARTING, Stage.STARTED):
            self._exit, self._stage = exited, Stage.ENDED

    async def _start(self) -> None:
        await self._machine.runtime.start(self._item.task.id)
        if self._stage is Stage.STARTING:
            self._stage = Stage.STARTED
            self._watch_health()

    def _watch_health(self) -> None:
        self._started = self._machine.clock.now()
        self._spawn("health", self._health)
        self._spawn("disk", self._watch_disk)

    async def _watch_disk(self) -> None:
        task = self._item.task.id
        while True:
            await self._machine.clock.sleep(WRITABLE_SECONDS)
            try:
                written = await self._machine.runtime.written(task)
            except Unavailable as error:
                _log.warning("task %s: its writable layer: %s", task, error.cause)
                continue
            if written > WRITABLE_BYTES:
                self._doom = (
                    f"its writable layer has {written / 1024**3:.1f} GiB, more than the "
                    f"{WRITABLE_BYTES // 1024**3} GiB that a task may write outside volumes"
                )
                return

    async def _health(self) -> None:
        plan = probe.probing(self._item.revision.container.healthcheck, self._image)
        subject = health.Subject(self._item.task, self._started)
        was_ready = self._said.status.state is TaskState.RUNNING and self._said.status.ready
        async for seen in health.watch(self._machine, subject, plan):
            if was_ready and not seen.ready and not seen.doom:
                continue  # it was ready before this agent came, and nothing says otherwise
            was_ready = False
            state = TaskState.RUNNING if seen.running else self._said.status.state
            self._said.tell(
                state,
                health=seen.health,
                ready=seen.ready,
                error=seen.error,
                proven=seen.proven,
            )
            if seen.doom:
                self._doom = seen.doom
                self._bell.ring()

    async def _signal(self) -> None:
        task, container = self._item.task.id, self._item.revision.container
        name = container.stop_signal or self._image.stop_signal or "SIGTERM"
        await self._machine.runtime.signal(task, name)

    async def _kill(self) -> None:
        await self._machine.runtime.signal(self._item.task.id, "SIGKILL")

    async def _clean(self) -> None:
        for attempt in range(CLEAN_TRIES):
            try:
                await self._sweep()
                break
            except StackdError as error:
                if shortage.passing(error):
                    raise
                _log.warning("task %s: cleaning: %s", self._item.task.id, error.cause)
                await self._machine.clock.sleep(0.1 * 2**attempt)
        self._stage = Stage.CLEAN
        if not self._forgotten:
            self._tell_end()

    async def _sweep(self) -> None:
        await self._machine.runtime.remove(self._item.task.id)
        await self._machine.network.detach(self._item.task.id)

    def _tell_end(self) -> None:
        asked = self._item.desired.state >= TaskState.SHUTDOWN
        limit = self._item.revision.container.resources.memory
        end = self._failure or lifecycle.ended(
            self._exit, asked=asked, doom=self._doom or self._said.failing, memory=limit
        )
        self._said.end(end, self._exit)
