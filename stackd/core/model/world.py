"""The typed tables in memory: what every loop reads and every decider is given.

Fed by the store's watch (`store.tables`), or by hand in tests. Each record keeps the revision of
its key, so that a decision made here can be committed under the condition that nothing it
replaced or relied on has changed.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from stackd.core.model.ids import service_key
from stackd.core.model.record import Record, Ref
from stackd.core.model.release import Release, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.states import Leaving, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class TaskView:
    """The three records of one task; missing desired or status read as their first values. What
    follows from them is asked for by every loop at every change, and worked out once."""

    task: Task
    desired: TaskDesired
    status: TaskStatus

    @cached_property
    def live(self) -> bool:
        """Not finished: a process of it may run or is still to run."""
        return not self.status.state.finished

    @cached_property
    def wanted(self) -> bool:
        """Meant to run: not asked to stop."""
        return self.desired.state is TaskState.RUNNING and not self.desired.stop

    @cached_property
    def ready(self) -> bool:
        """Observed ready, whether or not it is still wanted."""
        return self.status.ready and self.status.state is TaskState.RUNNING


_OF_A_TASK = frozenset({Task.TABLE, TaskDesired.TABLE, TaskStatus.TABLE})
"""Tables whose keys are ids of tasks."""


class World:
    """Typed tables with the indexes that deciders need. Not a store: it can only be read by
    deciders; `apply` is for whoever feeds it."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Record]] = defaultdict(dict)
        self._order: dict[str, list[str]] = defaultdict(list)
        self._revisions: dict[tuple[str, str], int] = {}
        self._tasks_of: dict[str, dict[str, None]] = defaultdict(dict)
        self._tasks_on: dict[str, dict[str, None]] = defaultdict(dict)
        self._services_of: dict[str, dict[str, None]] = defaultdict(dict)
        self._leaving: dict[str, None] = {}
        self._moving: dict[str, None] = {}
        self._growing: dict[str, None] = {}
        self._views: dict[str, TaskView] = {}
        self.revision = 0
        """Store revision up to which these tables are complete."""

    def copy(self) -> "World":
        """Tables of their own with the same records: what is applied there is not seen here."""
        found = World()
        found._tables.update((name, dict(rows)) for name, rows in self._tables.items())
        found._order.update((name, list(keys)) for name, keys in self._order.items())
        found._revisions = dict(self._revisions)
        found._tasks_of.update((key, dict(ids)) for key, ids in self._tasks_of.items())
        found._tasks_on.update((key, dict(ids)) for key, ids in self._tasks_on.items())
        found._services_of.update((key, dict(names)) for key, names in self._services_of.items())
        found._leaving, found._moving = dict(self._leaving), dict(self._moving)
        found._growing = dict(self._growing)
        found._views = dict(self._views)
        found.revision = self.revision
        return found

    def apply(self, record: Record, revision: int) -> None:
        """Take in a record as written at store revision `revision`."""
        previous = self._tables[record.TABLE].get(record.key)
        if previous is None:
            order = self._order[record.TABLE]
            order.insert(bisect_left(order, record.key), record.key)
        if isinstance(previous, Task):
            self._unindex(previous)
        self._tables[record.TABLE][record.key] = record
        if record.TABLE in _OF_A_TASK:
            self._views.pop(record.key, None)
        self._revisions[record.TABLE, record.key] = revision
        if isinstance(record, Task):
            self._tasks_of[service_key(record.stack, record.service)][record.id] = None
            self._services_of[record.stack][record.service] = None
            if record.node:
                self._tasks_on[record.node][record.id] = None
        if isinstance(record, ServiceState):
            self._note_rollout(record)
        if isinstance(record, TaskDesired):
            self._leaving.pop(record.id, None)
            if record.stop and record.leaving is not Leaving.DONE:
                self._leaving[record.id] = None

    def remove(self, table: str, key: str) -> None:
        """Forget the record at `table`/`key`."""
        previous = self._tables[table].pop(key, None)
        self._revisions.pop((table, key), None)
        if table in _OF_A_TASK:
            self._views.pop(key, None)
        if previous is not None:
            order = self._order[table]
            del order[bisect_left(order, key)]
        if isinstance(previous, Task):
            self._unindex(previous)
        if isinstance(previous, TaskDesired):
            self._leaving.pop(previous.id, None)
        if isinstance(previous, ServiceState):
            self._moving.pop(previous.key, None)
            self._growing.pop(previous.key, None)

    def _note_rollout(self, record: ServiceState) -> None:
        going = record.rollout is not None and not record.rollout.ended
        if isinstance(record, ToggleState):
            self._growing.pop(record.key, None)
            if going:
                self._growing[record.key] = None
            return
        self._moving.pop(record.key, None)
        if going or record.weights:
            self._moving[record.key] = None

    def _unindex(self, task: Task) -> None:
        mine = self._tasks_of[service_key(task.stack, task.service)]
        mine.pop(task.id, None)
        if not mine:
            self._services_of[task.stack].pop(task.service, None)
        self._tasks_on[task.node].pop(task.id, None)

    def get(self, table: type[R], key: str) -> R | None:
        """The record at `key`, or None."""
        found = self._tables[table.TABLE].get(key)
        assert found is None or isinstance(found, table)
        return found

    def all(self, table: type[R]) -> Iterator[R]:
        """Every record of a table, in the order of their keys."""
        rows = self._tables[table.TABLE]
        for key in tuple(self._order[table.TABLE]):
            record = rows[key]
            assert isinstance(record, table)
            yield record

    def places(self) -> list[Ref]:
        """Every place that has a record, in no particular order."""
        return [Ref(table=table, key=key) for table, key in self._revisions]

    def rev(self, table: str, key: str) -> int:
        """The store revision of a key; 0 when it is absent."""
        return self._revisions.get((table, key), 0)

    def task(self, task_id: str) -> TaskView | None:
        """The three records of a task, or None if it is unknown."""
        known = self._views.get(task_id)
        if known is not None:
            return known
        task = self.get(Task, task_id)
        if task is None:
            return None
        desired = self.get(TaskDesired, task_id) or TaskDesired(id=task.id)
        status = self.get(TaskStatus, task_id) or TaskStatus(id=task.id, state=TaskState.NEW)
        view = self._views[task_id] = TaskView(task, desired, status)
        return view

    def _by_id(self, ids: dict[str, None]) -> list[TaskView]:
        return [view for key in sorted(ids) if (view := self.task(key)) is not None]

    def tasks_of(self, stack: str, service: str) -> list[TaskView]:
        """All known tasks of a service, finished ones too, by id."""
        return self._by_id(self._tasks_of.get(service_key(stack, service), {}))

    def tasks_on(self, node: str) -> list[TaskView]:
        """All known tasks placed on a node, by id."""
        return self._by_id(self._tasks_on.get(node, {}))

    def services_with_tasks(self) -> list[str]:
        """`STACK/SERVICE` keys that have at least one known task."""
        return sorted(key for key, ids in self._tasks_of.items() if ids)

    def leaving(self) -> list[TaskView]:
        """Tasks that were asked to go and have not left the traffic yet, by id."""
        return self._by_id(self._leaving)

    def moving(self) -> list[str]:
        """`STACK/SERVICE` of the services whose rollout, or that of a toggle of theirs, has not
        ended or has left weights."""
        return sorted({*self._moving, *(key.rpartition("/")[0] for key in self._growing)})

    def tasks_of_stack(self, stack: str) -> list[TaskView]:
        """All known tasks of a stack's services, also of those it no longer declares."""
        names = sorted(self._services_of.get(stack, {}))
        return [view for name in names for view in self.tasks_of(stack, name)]

    def count(self, table: type[Record]) -> int:
        """How many records a table has."""
        return len(self._tables[table.TABLE])

    def release(self, stack: str, number: int | None = None) -> Release | None:
        """A release of a stack; the current one without `number`. None for a removed stack."""
        head = self.get(Stack, stack)
        if number is None and (head is None or head.removing):
            return None
        wanted = head.release if number is None and head is not None else number
        return self.get(Release, f"{stack}/{wanted:08d}")

    def declared(self, stack: str, service: str) -> ServiceSpec | None:
        """The spec that the current release declares for a service, or None."""
        release = self.release(stack)
        found = release.services.get(service) if release else None
        return found.spec if found else None
