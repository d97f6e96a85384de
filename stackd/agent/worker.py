"""Makes the node what it is assigned: networks, contents, one runner per task, traffic.

Messages come from `agent.session`; at start the node's own record stands in for them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from stackd.agent.assigned import Assigned, Changed
from stackd.agent.condition import Condition
from stackd.agent.machine import Machine
from stackd.agent.record import NodeRecord
from stackd.agent.removals import Removals
from stackd.agent.reporter import Reporter
from stackd.agent.task import TaskRunner
from stackd.aio.backoff import Backoff
from stackd.core.model.assignment import Assignment, ItemKind, TrafficItem
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus
from stackd.errors import StackdError

_log = logging.getLogger(__name__)
TEND = 2.0
"""Seconds until a record that could not be written is tried again."""
NETWORKING = frozenset({ItemKind.NODE, ItemKind.NETWORK, ItemKind.ATTACHMENT})


class Traffic(Protocol):
    """Where traffic entries go (agent.traffic): applied in its own loop, newest wins."""

    def wanted(self, items: Sequence[TrafficItem], revision: int) -> None:
        """Exactly these entries; every change up to store revision `revision` is in them."""
        ...


@dataclass(frozen=True, slots=True)
class Voice:
    """Where what is observed goes: of tasks, and of the node itself."""

    reporter: Reporter
    condition: Condition


class Worker:
    """Owns the runners. `start` once, then `take` every message, `run` all along."""

    def __init__(
        self, machine: Machine, record: NodeRecord, voice: Voice, traffic: Traffic
    ) -> None:
        self._machine = machine
        self._record = record
        self._reporter = reporter = voice.reporter
        self._condition = voice.condition
        self._traffic = traffic
        self._removals = Removals(machine.runtime, reporter, machine.clock)
        self._assigned = Assigned()
        self._runners: dict[str, TaskRunner] = {}
        self._starting: list[tuple[str, TaskRunner]] = []
        self._work = asyncio.Event()
        self._network_stale = True

    @property
    def sequence(self) -> int:
        """Number of the last message that was taken in."""
        return self._assigned.sequence

    async def start(self) -> None:
        """Take up what a former agent left: traffic first, then adopt the containers of recorded
        tasks and reap those that nobody knows."""
        self._assigned, statuses = self._record.load()
        self._condition.trouble("record", self._record.trouble)
        self._tell_traffic()
        self._removals.wanted(self._assigned.volumes())
        await self._configure()
        found = {item.task_id: item for item in await self._machine.runtime.found()}
        for item in self._assigned.tasks():
            runner = TaskRunner(item, self._machine, self._said(item.key))
            runner.adopt(found.pop(item.key, None), statuses.get(item.key))
            self._add(item.key, runner)
        for task in found:
            await self._reap(task)
        try:
            await self._machine.network.reap({item.key for item in self._assigned.tasks()})
        except (StackdError, OSError) as error:
            _log.error("networks of unknown tasks cannot be removed: %s", error)

    async def _reap(self, task: str) -> None:
        _log.warning("task %s is not assigned here: its container is removed", task)
        try:
            await self._machine.runtime.remove(task)
            await self._machine.network.detach(task)
        except (StackdError, OSError) as error:
            _log.error("task %s cannot be removed: %s", task, error)

    async def stop_all(self) -> None:
        """Stop every task as if the manager had asked for it, each with its own signal and grace,
        and return when all have ended. What they ended as is kept in the record and told to the
        manager by the next agent."""
        for task, runner in self._runners.items():
            item = self._assigned.task(task)
            if item is not None:
                desired = msgspec.structs.replace(item.desired, state=TaskState.SHUTDOWN)
                runner.update(msgspec.structs.replace(item, desired=desired))
        while any(not runner.ended for runner in self._runners.values()):
            await self._machine.clock.sleep(0.02)

    def take(self, message: Assignment) -> bool:
        """Take in one message; False when one before it is missing."""
        changed = self._assigned.apply(message)
        if changed.gap:
            return False
        if self._record.assignment(message):
            self._rewrite()
        self._update(changed)
        return True

    def _update(self, changed: Changed) -> None:
        self._network_stale = self._network_stale or bool(changed.kinds & NETWORKING)
        if ItemKind.CONTENT in changed.kinds:
            self._machine.contents.replace({item.key: item for item in self._assigned.contents()})
        if ItemKind.VOLUME in changed.kinds:
            self._removals.wanted(self._assigned.volumes())
        for task in sorted(changed.tasks):
            item, runner = self._assigned.task(task), self._runners.get(task)
            match (item, runner):
                case (None, None):
                    pass
                case (None, TaskRunner()):
                    runner.forget()
                    self._reporter.forget([task])
                case (_, None) if item is not None:
                    self._add(task, TaskRunner(item, self._machine, self._said(task)))
                case _ if item is not None and runner is not None:
                    runner.update(item)
        self._tell_traffic()
        self._work.set()

    def _add(self, task: str, runner: TaskRunner) -> None:
        self._runners[task] = runner
        self._starting.append((task, runner))
        self._work.set()

    def _tell_traffic(self) -> None:
        self._traffic.wanted(list(self._assigned.traffic()), self._assigned.traffic_revision)

    def _said(self, task: str) -> Callable[[TaskStatus], None]:
        def report(status: TaskStatus) -> None:
            if self._assigned.task(task) is None:
                return
            self._reporter.status(status)
            if self._record.status(status):
                self._rewrite()

        return report

    def _rewrite(self) -> None:
        self._record.rewrite(self._assigned, dict(self._reporter.statuses))
        self._condition.trouble("record", self._record.trouble)

    async def _tend_record(self) -> None:
        """A record that could not be kept where it belongs goes there as soon as it can."""
        while True:
            await self._machine.clock.sleep(TEND)
            if self._record.trouble:
                self._rewrite()

    async def run(self) -> None:
        """Make it true, again and again. Cancelling leaves every container as it is."""
        backoff = Backoff(first=0.5, most=30.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._removals.run())
            group.create_task(self._tend_record())
            while True:
                await self._work.wait()
                self._work.clear()
                starting, self._starting = self._starting, []  # those that come meanwhile wait
                if self._network_stale and not await self._configure():
                    group.create_task(self._again(backoff.next()))
                else:
                    backoff.reset()
                for task, runner in starting:
                    group.create_task(self._live(task, runner))

    async def _again(self, seconds: float) -> None:
        await self._machine.clock.sleep(seconds)
        self._work.set()

    async def _live(self, task: str, runner: TaskRunner) -> None:
        await runner.run()
        if self._runners.get(task) is runner and self._assigned.task(task) is None:
            del self._runners[task]

    async def _configure(self) -> bool:
        """The node's networks; tasks that need what failed are rejected when they attach."""
        self._network_stale = False
        try:
            await self._machine.network.configure(
                [item.network for item in self._assigned.networks()],
                list(self._assigned.nodes()),
                list(self._assigned.attachments()),
            )
        except (StackdError, OSError) as error:
            self._condition.trouble("networks", str(error))
            self._network_stale = True
        else:
            self._condition.trouble("networks", "")
        return not self._network_stale
