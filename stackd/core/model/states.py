"""The states of a task, which only move forward, and when each must be over."""

import enum


class TaskState(enum.IntEnum):
    """Observed states in order; the greater of two observations is the right one."""

    NEW = 0
    PENDING = 10
    ASSIGNED = 20
    ACCEPTED = 30
    PREPARING = 40
    READY = 50
    STARTING = 60
    RUNNING = 70
    COMPLETE = 80
    SHUTDOWN = 90
    FAILED = 100
    REJECTED = 110
    ORPHANED = 120
    REMOVE = 130
    """Desired only: the task and its traces are to be removed."""

    @property
    def finished(self) -> bool:
        """True from COMPLETE on: no process of the task runs any more."""
        return self >= TaskState.COMPLETE

    @property
    def label(self) -> str:
        """The word shown to people and in JSON."""
        return self.name.lower()


class Health(enum.StrEnum):
    """What the health check says; NONE when there is no check."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Leaving(enum.StrEnum):
    """How far a task that was asked to go has left the traffic (written by the drain loop)."""

    NO = "no"
    WITHDRAWING = "withdrawing"
    """The service's listeners or routes leave first: no other endpoint could take the traffic."""
    DRAINING = "draining"
    """Gets nothing new; what it has is being counted down, capped by drain_timeout."""
    OUT = "out"
    """No longer in the table; waiting until every node has applied that."""
    DONE = "done"
    """Every node has applied it: the task may be stopped."""


class NodeState(enum.StrEnum):
    """Whether the node's agent is heard."""

    UNKNOWN = "unknown"
    READY = "ready"
    DOWN = "down"


class Availability(enum.StrEnum):
    """What the operator wants placed on a node."""

    ACTIVE = "active"
    PAUSE = "pause"
    DRAIN = "drain"
