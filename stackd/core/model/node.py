"""Nodes, what they can hold, and what their agents last said."""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.ids import NodeId
from stackd.core.model.record import Record, Value
from stackd.core.model.states import Availability, NodeState


class Role(enum.StrEnum):
    """What a node's certificate allows."""

    MANAGER = "manager"
    WORKER = "worker"


class Node(Record, frozen=True, kw_only=True):
    """A member of the cluster, as the operator sees and sets it."""

    TABLE: ClassVar[str] = "nodes"
    id: NodeId
    name: str
    role: Role = Role.WORKER
    availability: Availability = Availability.ACTIVE
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    index: int = 1
    """Small number, unique in the cluster, 1..65535; picks gateway addresses and MACs."""

    @property
    def key(self) -> str:
        return self.id


class NodeStatus(Record, frozen=True, kw_only=True):
    """What the dispatcher knows of a node; written when it changes, not at each heartbeat."""

    TABLE: ClassVar[str] = "node_status"
    id: NodeId
    state: NodeState
    address: str = ""
    """Underlay IPv4 address, where VXLAN and the published ports are."""
    since: float = 0
    epoch: int = 0
    """Grows with every registration; an older session is refused."""
    cpus: float = 0
    memory: int = 0
    """Bytes."""
    os: str = "linux"
    arch: str = "amd64"
    engine_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    version: str = ""
    message: str = ""

    @property
    def key(self) -> str:
        return self.id


class Notice(Value, frozen=True, kw_only=True):
    """Something that happened on a node by itself: the manager makes it an event, once."""

    at: float
    """Unix seconds, on the node's clock."""
    kind: str
    text: str


class NodeReport(Record, frozen=True, kw_only=True):
    """What a node's agent last said of its traffic and of itself. Kept in memory only, never
    stored: a new leader collects it again before it takes the next step."""

    TABLE: ClassVar[str] = "mem_reports"
    id: NodeId
    applied: int = 0
    """Every traffic change up to this store revision is applied (ack and barrier)."""
    in_flight: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Task id -> requests and connections this node still carries to it; only draining ones."""
    counted: int = 0
    """`applied` at the moment the in-flight counts were taken."""
    problems: Mapping[str, str] = msgspec.field(default_factory=dict)
    """`STACK/SERVICE` -> why part of its traffic could not be applied (a port that is taken)."""
    removed: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Volume whose data has gone -> the time at which that was asked for."""
    troubles: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Part of the node (network, record …) -> what is wrong with it now."""
    asked: Mapping[str, float] = msgspec.field(default_factory=dict)
    """`STACK/SERVICE/TOGGLE` -> when a task of this node last asked for that toggle, to the
    minute, since the agent started (Unix seconds, on the node's clock)."""
    began: float = 0
    """When the agent started, by the node's clock; 0 = it did not say."""
    notices: tuple[Notice, ...] = ()
    """The latest of them, oldest first; said again after a reconnect."""

    @property
    def key(self) -> str:
        return self.id
