"""What a manager tells a node: the items of its assignment stream.

An item is put or removed by `(kind, key)`. A node gets only what concerns it: its own tasks and
the contents they were granted; networks it has tasks in or publishes ports from; the attachments
and traffic entries of those networks; all nodes.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.network import Network
from stackd.core.model.record import Value
from stackd.core.model.release import ContentKind, Revision
from stackd.core.model.task import Task, TaskDesired
from stackd.core.model.traffic import TrafficEntry


class ItemKind(enum.StrEnum):
    """The kinds of assignment items, in the order a node applies them."""

    NODE = "node"
    NETWORK = "network"
    ATTACHMENT = "attachment"
    CONTENT = "content"
    VOLUME = "volume"
    TASK = "task"
    TRAFFIC = "traffic"


class NodeItem(Value, frozen=True, kw_only=True, tag="node"):
    """A member of the cluster that this node may exchange overlay traffic with."""

    KIND: ClassVar[ItemKind] = ItemKind.NODE
    id: str
    name: str
    index: int
    address: str

    @property
    def key(self) -> str:
        return self.id


class NetworkItem(Value, frozen=True, kw_only=True, tag="network"):
    """A network this node takes part in. A node's gateway is the subnet's base + its index."""

    KIND: ClassVar[ItemKind] = ItemKind.NETWORK
    network: Network

    @property
    def key(self) -> str:
        return self.network.id


class AttachmentItem(Value, frozen=True, kw_only=True, tag="attachment"):
    """An address of a task, here or on another node, in a network this node takes part in."""

    KIND: ClassVar[ItemKind] = ItemKind.ATTACHMENT
    task: str
    network: str
    address: str
    node: str
    stack: str
    service: str
    slot: str

    @property
    def key(self) -> str:
        return f"{self.task}/{self.network}"


class ContentItem(Value, frozen=True, kw_only=True, tag="content"):
    """The clear content of one granted version. Kept in memory only, by agent and task tmpfs."""

    KIND: ClassVar[ItemKind] = ItemKind.CONTENT
    kind: ContentKind
    name: str
    version: str
    value: bytes

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}/{self.version}"

    def __repr__(self) -> str:
        return f"ContentItem({self.key})"


class VolumeItem(Value, frozen=True, kw_only=True, tag="volume"):
    """A named volume of this node whose data must go; `asked` in Unix seconds."""

    KIND: ClassVar[ItemKind] = ItemKind.VOLUME
    name: str
    asked: float

    @property
    def key(self) -> str:
        return self.name


class TaskItem(Value, frozen=True, kw_only=True, tag="task"):
    """A task of this node with all it needs to run."""

    KIND: ClassVar[ItemKind] = ItemKind.TASK
    task: Task
    desired: TaskDesired
    revision: Revision
    volumes: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Volume name in the stack file -> cluster-wide volume name."""
    contents: Mapping[str, str] = msgspec.field(default_factory=dict)
    """`config/NAME` or `secret/NAME` in the stack file -> key of the ContentItem."""

    @property
    def key(self) -> str:
        return self.task.id


class TrafficItem(Value, frozen=True, kw_only=True, tag="traffic"):
    """One service's traffic, written at store revision `revision`."""

    KIND: ClassVar[ItemKind] = ItemKind.TRAFFIC
    entry: TrafficEntry
    revision: int

    @property
    def key(self) -> str:
        return self.entry.key


Item = NodeItem | NetworkItem | AttachmentItem | ContentItem | VolumeItem | TaskItem | TrafficItem


class ItemRef(Value, frozen=True, kw_only=True, order=True):
    """An item to forget."""

    kind: ItemKind
    key: str


class Assignment(Value, frozen=True, kw_only=True):
    """One message of the stream. `full` replaces all that was known; otherwise `applies_to` must
    be the sequence number of the message before it, or the node asks for a full one.

    `traffic_revision`: every traffic change up to this store revision is in what has been sent.
    """

    full: bool
    applies_to: int
    sequence: int
    epoch: int
    """The leader's epoch; a node refuses an older one."""
    put: tuple[Item, ...] = ()
    removed: tuple[ItemRef, ...] = ()
    traffic_revision: int = 0
