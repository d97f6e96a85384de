"""One stack in virtual time, on a copy of the tables: loops take turns, agents do as assumed.

Called by `simulate`. Nodes apply traffic at once and carry no open requests; tasks of other stacks
stay as they are.
"""

from collections.abc import Callable, Sequence

import msgspec

from stackd.core.foresight.loops import TASK, Turn, loops
from stackd.core.foresight.pace import Pace, next_report
from stackd.core.foresight.usage import Usage
from stackd.core.model.event import Event
from stackd.core.model.ids import service_key
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.record import Changes, Delete, Put, Record, Ref
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.states import NodeState
from stackd.core.model.task import Task, TaskStatus
from stackd.core.model.world import World
from stackd.core.rollout.phase import service_names

_EVER = 1 << 62
"""A store revision that no table reaches: who has applied it has applied everything."""


class Virtual:
    """`moved` is called with every new state of a service, `told` with every event."""

    def __init__(self, world: World, stack: str, now: float, pace: Pace) -> None:
        self.world = world.copy()
        self.now = now
        self.looks = 0
        """Turns of loops and reports of agents so far: what playing costs."""
        self.usage = Usage(self.world)
        self.moved: Callable[[ServiceState], None] = lambda state: None
        self.told: Callable[[Event], None] = lambda event: None
        self._stack = stack
        self._pace = pace
        self._number = 0
        self._reports: dict[str, tuple[float, TaskStatus]] = {}
        self._loops = loops()
        self.services: Sequence[str] = service_names(self.world, stack)
        """Declared, or with something left when that was last declared."""
        self._assume()
        self.usage.begin(stack)
        for view in self.world.tasks_of_stack(stack):
            self._notify(Ref(table=Task.TABLE, key=view.task.id))
        self._notify(Ref(table=Stack.TABLE, key=stack))

    def _assume(self) -> None:
        """Nodes that may carry traffic have applied everything, and nothing in it fails."""
        for status in list(self.world.all(NodeStatus)):
            if status.state is not NodeState.DOWN:
                report = NodeReport(id=status.id, applied=_EVER, counted=_EVER)
                self.world.apply(report, self.world.revision)

    def ids(self) -> str:
        """A fresh id, after all real ones."""
        self._number += 1
        return f"zz{self._number:010d}"

    def write(self, *records: Record) -> None:
        """Write as somebody outside the loops."""
        self.commit(Changes(changes=tuple(Put(record=record) for record in records)))

    def commit(self, changes: Changes) -> None:
        """Take changes in: loops that take turns never conflict."""
        self.world.revision += 1
        for change in changes.changes:
            if isinstance(change, Put) and isinstance(change.record, Event):
                self.told(change.record)
        for change in changes.changes:
            match change:
                case Put(record=Event()):
                    continue  # nobody here reads them
                case Put(record=record):
                    self.world.apply(record, self.world.revision)
                    place = Ref(table=record.TABLE, key=record.key)
                    if isinstance(record, ServiceState):
                        self.moved(record)
                    if isinstance(record, Stack):
                        self.services = service_names(self.world, self._stack)
                case Delete(ref=place):
                    gone = self.world.get(Task, place.key) if place.table == Task.TABLE else None
                    self.world.remove(place.table, place.key)
                    if gone is not None:  # whose it was cannot be looked up any more
                        service = service_key(gone.stack, gone.service)
                        self._notify(Ref(table=ServiceState.TABLE, key=service))
            self._notify(place)

    def _notify(self, place: Ref) -> None:
        for loop in self._loops:
            if place.table in loop.tables:
                loop.dirty.add(place)
        if place.table in TASK:
            self._touch(place.key)

    def _touch(self, task: str) -> None:
        """A task has changed: so may have what its agent says next."""
        view = self.world.task(task)
        self.usage.note(task, view)
        mine = view is not None and view.task.stack == self._stack
        report = next_report(self.world, view, self.now, self._pace) if mine and view else None
        known = self._reports.get(task)
        if report is None:
            self._reports.pop(task, None)
        elif known is None or known[1].state is not report[1].state:
            self._reports[task] = report

    def settle(self, most: int) -> None:
        """Let all happen that happens at this moment, until `looks` reaches `most`."""
        while self.looks < most:
            busy = [loop for loop in self._loops if loop.busy(self.now)]
            for loop in busy:
                dirty, loop.dirty = loop.dirty, set()
                turn = Turn(self.world, self._stack, self.now, self.ids, dirty, self.services)
                for changes in loop.turn(turn).commits:
                    self.commit(changes)
            due = [task for task, (at, _) in self._reports.items() if at <= self.now]
            for task in due:
                status = self._reports.pop(task)[1]
                self.write(msgspec.structs.replace(status, at=self.now, seen=self.now))
            self.looks += len(busy) + len(due)
            if not busy and not due:
                break

    def upcoming(self) -> float | None:
        """When something happens next; None = never."""
        times = [at for loop in self._loops for at in loop.wakes.values()]
        times += [at for at, _ in self._reports.values()]
        return min((at for at in times if at > self.now), default=None)

    @property
    def reporting(self) -> bool:
        """Some task is on its way up or down."""
        return bool(self._reports)
