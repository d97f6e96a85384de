"""A task: one run of one revision in one slot on one node. It never moves and never restarts.

Three records with one writer each: `Task` (what and where; the manager until it is assigned, then
nobody), `TaskDesired` (the manager), `TaskStatus` (the manager until ASSIGNED, then only the
node's agent, or the manager for ORPHANED).
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.record import Record
from stackd.core.model.states import Health, Leaving, TaskState


class Task(Record, frozen=True, kw_only=True):
    """The task itself. `node` and `addresses` are filled once, by scheduler and allocator."""

    TABLE: ClassVar[str] = "tasks"
    id: TaskId
    stack: str
    service: str
    slot: str
    """Slot number as text for replicated services, node id for global ones."""
    revision: RevisionId
    created: float = 0
    node: str = ""
    """Node id; empty until the scheduler has placed it. Global tasks are born with it."""
    addresses: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Network id -> IPv4 address; filled by the allocator, for every network of the revision."""
    ready_ports: tuple[int, ...] = ()
    """Published tcp targets at creation: readiness when there is no health check."""
    monitor: float = 5.0
    """Seconds of running that mean ready when there is neither a check nor such a port."""
    not_before: float = 0
    """Restart back-off: not placed before this time (Unix seconds on the manager's clock)."""
    cause: str = ""
    """Id of the event that led to this task."""
    attempt: int = 0
    """How many unexpected ends in a row led to this task; 0 = it replaces none that failed."""

    @property
    def key(self) -> str:
        return self.id


class TaskDesired(Record, frozen=True, kw_only=True):
    """What the manager wants of a task: RUNNING, SHUTDOWN or REMOVE.

    To stop a task, `leaving` is set first (orchestrator: `stop_since`, `reason`); the drain loop
    takes it through the stages and only then sets `state` to SHUTDOWN.
    """

    TABLE: ClassVar[str] = "desired"
    id: TaskId
    state: TaskState = TaskState.RUNNING
    leaving: Leaving = Leaving.NO
    stop: bool = False
    """Asked to go; the drain loop does the rest."""
    drain_left: float = 0
    """Seconds of drain_timeout left, stored at stage entry and every 5 s; below 0 once it is
    spent and only acks are waited for."""
    drain_at: float = 0
    """When `drain_left` was stored, on the manager's clock."""
    reason: str = ""
    """Why it is asked to go, in one sentence."""
    cause: str = ""
    stop_at: float = 0
    """When it was asked to go, on the manager's clock."""
    failed: bool = False
    """Asked to go because a deadline passed: counts as a failure of its revision."""

    @property
    def key(self) -> str:
        return self.id


class TaskStatus(Record, frozen=True, kw_only=True):
    """What is observed of a task."""

    TABLE: ClassVar[str] = "status"
    id: TaskId
    state: TaskState
    health: Health = Health.NONE
    ready: bool = False
    """It may get traffic: its health check has passed; without one, its ports accept."""
    at: float = 0
    """When this state was entered, on the reporter's clock, Unix seconds (display)."""
    seen: float = 0
    """When the manager learned of it, on the manager's clock (used for durations)."""
    error: str = ""
    """One sentence; empty when nothing is wrong."""
    exit_code: int | None = None
    signal: int = 0
    oom_killed: bool = False
    pid: int = 0
    failing: bool = False
    """It runs, but something it cannot do without is lost (`error` says what): to be replaced."""
    proven: float = 0
    """Seconds of running that being ready has shown by itself (no check, no port: `monitor`)."""
    ready_at: float = 0
    """When the manager first saw it ready, on the manager's clock; 0 = never."""

    @property
    def key(self) -> str:
        return self.id
