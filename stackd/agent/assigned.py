"""All that this node is assigned, in memory: the items of the stream put together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from stackd.core.model.assignment import (
    Assignment,
    AttachmentItem,
    ContentItem,
    Item,
    ItemKind,
    NetworkItem,
    NodeItem,
    TaskItem,
    TrafficItem,
    VolumeItem,
)

T = TypeVar("T", bound=Item)


@dataclass(frozen=True, slots=True)
class Changed:
    """What one message touched: item kinds, and the tasks that were put or removed."""

    kinds: frozenset[ItemKind]
    tasks: frozenset[str]
    gap: bool = False
    """The message does not follow the one before it, or is of an older leader: not applied."""


class Assigned:
    """Held by `agent.worker`; `agent.record` rebuilds it from disk."""

    def __init__(self) -> None:
        self._items: dict[ItemKind, dict[str, Item]] = {kind: {} for kind in ItemKind}
        self.sequence = 0
        self.epoch = 0
        self.traffic_revision = 0

    def apply(self, message: Assignment) -> Changed:
        """Take in one message of the stream."""
        if message.epoch < self.epoch:
            return Changed(frozenset(), frozenset(), gap=True)
        if not message.full and message.applies_to != self.sequence:
            return Changed(frozenset(), frozenset(), gap=True)
        touched = set[tuple[ItemKind, str]]()
        if message.full:
            new = {(item.KIND, item.key) for item in message.put}
            for kind, items in self._items.items():
                for key in [key for key in items if (kind, key) not in new]:
                    del items[key]
                    touched.add((kind, key))
        for item in message.put:
            if self._items[item.KIND].get(item.key) != item:
                self._items[item.KIND][item.key] = item
                touched.add((item.KIND, item.key))
        for gone in message.removed:
            if self._items[gone.kind].pop(gone.key, None) is not None:
                touched.add((gone.kind, gone.key))
        self.sequence, self.epoch = message.sequence, message.epoch
        self.traffic_revision = max(message.traffic_revision, 0)
        return Changed(
            frozenset(kind for kind, _ in touched),
            frozenset(key for kind, key in touched if kind is ItemKind.TASK),
        )

    def snapshot(self) -> Assignment:
        """One full message that says all of it."""
        return Assignment(
            full=True,
            applies_to=0,
            sequence=self.sequence,
            epoch=self.epoch,
            put=tuple(item for items in self._items.values() for item in items.values()),
            traffic_revision=self.traffic_revision,
        )

    def task(self, task: str) -> TaskItem | None:
        """A task of this node, or None."""
        found = self._items[ItemKind.TASK].get(task)
        return found if isinstance(found, TaskItem) else None

    def tasks(self) -> Iterator[TaskItem]:
        """The tasks of this node."""
        return self._of(TaskItem)

    def nodes(self) -> Iterator[NodeItem]:
        """The members of the cluster."""
        return self._of(NodeItem)

    def networks(self) -> Iterator[NetworkItem]:
        """The networks this node takes part in."""
        return self._of(NetworkItem)

    def attachments(self) -> Iterator[AttachmentItem]:
        """Every address in those networks."""
        return self._of(AttachmentItem)

    def contents(self) -> Iterator[ContentItem]:
        """Granted contents."""
        return self._of(ContentItem)

    def volumes(self) -> Iterator[VolumeItem]:
        """The volumes of this node that must go."""
        return self._of(VolumeItem)

    def traffic(self) -> Iterator[TrafficItem]:
        """The traffic entries that concern this node."""
        return self._of(TrafficItem)

    def _of(self, kind: type[T]) -> Iterator[T]:
        for item in self._items[kind.KIND].values():
            if isinstance(item, kind):
                yield item
