"""What this node has to say to the manager: nothing final is lost, nothing stale is repeated.

The newest status of each task waits here until a session sends it; after a reconnect everything
known is said again. No timer: what gathers while a message is being sent is the next message.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport, Notice
from stackd.core.model.requests import Batch, Count, Measured, Variant
from stackd.core.model.task import TaskStatus
from stackd.wire.messages import REQUEST_BATCH, STATUS_BATCH, Report, Requests, Statuses

T = TypeVar("T")

BATCHES = 10_000
"""Most batches of requests that wait to be told: some minutes' worth."""
NOTICES = 20
"""Most notices that wait to be told; older ones are in the log only."""


class Reporter:
    """Fed by `agent.worker` and the traffic applier, emptied by `agent.session`."""

    def __init__(self, began: float = 0) -> None:
        """`began`: when this agent started (Unix seconds)."""
        self._began = began
        self._known: dict[str, TaskStatus] = {}
        self._pending: dict[str, TaskStatus] = {}
        self._report = NodeReport(id=NodeId(""))
        self._report_pending = False
        self._removed: Mapping[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._asked: Mapping[str, float] = {}
        self._notices: deque[Notice] = deque(maxlen=NOTICES)
        self._batches: deque[Batch] = deque(maxlen=BATCHES)
        self._counts: deque[Count] = deque(maxlen=BATCHES)
        self._variants: deque[Variant] = deque(maxlen=BATCHES)
        self._ready = asyncio.Event()

    @property
    def applied(self) -> int:
        """The traffic version this node last said it applied."""
        return self._report.applied

    @property
    def statuses(self) -> Mapping[str, TaskStatus]:
        """The newest status of every task that is still assigned."""
        return self._known

    def status(self, status: TaskStatus) -> None:
        """Something was observed of a task; the newest observation holds."""
        self._known[status.id] = status
        self._pending[status.id] = status
        self._ready.set()

    def forget(self, tasks: Iterable[str]) -> None:
        """These tasks are no longer this node's."""
        for task in tasks:
            self._known.pop(task, None)
            self._pending.pop(task, None)

    def report(self, report: NodeReport) -> None:
        """What the node applied of the traffic, and its counts."""
        self._report, self._report_pending = report, True
        self._ready.set()

    def removed(self, volumes: Mapping[str, float]) -> None:
        """These volumes' data has gone, as it was asked for at these times."""
        if volumes != self._removed:
            self._removed, self._report_pending = dict(volumes), True
            self._ready.set()

    def asked(self, toggles: Mapping[str, float]) -> None:
        """When tasks of this node last asked for each toggle."""
        self._asked, self._report_pending = dict(toggles), True
        self._ready.set()

    def happened(self, notice: Notice | None, troubles: Mapping[str, str]) -> None:
        """Something happened on the node itself, and what is wrong with it now."""
        if notice is not None:
            self._notices.append(notice)
        self._troubles, self._report_pending = dict(troubles), True
        self._ready.set()

    def measured(self, measured: Measured) -> None:
        """Requests of services that are being analysed; said once, and of too many the oldest
        are dropped."""
        self._batches.extend(measured.batches)
        self._counts.extend(measured.counts)
        self._variants.extend(measured.variants)
        self._ready.set()

    def resend(self) -> None:
        """A new session begins: everything is to be said again."""
        self._pending = dict(self._known)
        self._report_pending = True
        self._ready.set()

    async def next(self) -> Report | Statuses | Requests:
        """The next message, as soon as there is one. What a failed send lost, `resend` says
        again."""
        while True:
            if self._pending:
                batch = list(self._pending)[:STATUS_BATCH]
                return Statuses(tuple(self._pending.pop(task) for task in batch))
            if self._report_pending:
                self._report_pending = False
                return Report(self._whole())
            if self._batches or self._counts or self._variants:
                return Requests(self._measured())
            self._ready.clear()
            await self._ready.wait()

    def _measured(self) -> Measured:
        return Measured(
            batches=_some(self._batches),
            counts=_some(self._counts),
            variants=_some(self._variants),
        )

    def _whole(self) -> NodeReport:
        return msgspec.structs.replace(
            self._report,
            removed=self._removed,
            troubles=self._troubles,
            asked=self._asked,
            began=self._began,
            notices=tuple(self._notices),
        )


def _some(waiting: deque[T]) -> tuple[T, ...]:
    """The oldest, as many as a message may hold."""
    return tuple(waiting.popleft() for _ in range(min(len(waiting), REQUEST_BATCH)))
