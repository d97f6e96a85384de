"""Keeps one session's node told: everything once, then what changes. One per session.

The decisions are in `core.orchestrate.assignments`; this holds what was sent.
"""

import logging
from collections.abc import Awaitable, Callable

from stackd.core.model.assignment import Assignment, ContentItem, Item, ItemKind, ItemRef
from stackd.core.model.decision import Dirty
from stackd.core.model.release import ContentKind
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.orchestrate import assignments
from stackd.errors import Refused
from stackd.store.subscription import Subscription

_log = logging.getLogger(__name__)
OpenContent = Callable[[ContentKind, str, str], bytes]
"""Kind, name, version -> clear value. Raises Refused when there is none."""
Send = Callable[[Assignment], Awaitable[None]]


class Assigner:
    """Computes the stream of one node."""

    def __init__(self, node: str, epoch: int, open_content: OpenContent) -> None:
        self._node = node
        self._epoch = epoch
        self._open = open_content
        self._items: assignments.Items = {}
        self._networks: frozenset[str] = frozenset()
        self._sequence = 0

    async def run(self, world: World, subscription: Subscription, send: Send) -> None:
        """Send until cancelled. Give the subscription back `Dirty()` to send everything again."""
        while True:
            dirty = await subscription.next()
            message = self.next(world, dirty)
            if message is not None:
                await send(message)

    def restart(self) -> None:
        """The node asks for everything."""
        self._items = {}
        self._sequence = 0

    def next(self, world: World, dirty: Dirty) -> Assignment | None:
        """The message that brings the node up to date; None when it is."""
        full = self._sequence == 0
        update = self._update(world, dirty)
        traffic = dirty.everything or any(ref.table == TrafficEntry.TABLE for ref in dirty.refs)
        if not (full or update or traffic):
            return None
        put = sorted(
            (item for item in update.values() if item is not None),
            key=lambda item: (_ORDER[item.KIND], item.key),
        )
        self._take(update)
        self._sequence += 1
        return Assignment(
            full=full,
            applies_to=self._sequence - 1,
            sequence=self._sequence,
            epoch=self._epoch,
            put=tuple(put),
            removed=tuple(sorted(ref for ref, item in update.items() if item is None)),
            traffic_revision=world.revision,
        )

    def _update(self, world: World, dirty: Dirty) -> assignments.Update:
        ingress = assignments.ingress_networks(world)
        networks = assignments.networks_of(world, self._node, ingress)
        update: assignments.Update
        if dirty.everything or networks != self._networks or self._sequence == 0:
            known = {ref: item for ref, item in self._items.items() if not _is_content(item)}
            wanted = assignments.items_for(world, self._node, networks)
            update = assignments.difference(known, wanted)
        else:
            changed = assignments.changed_items(
                world, self._node, networks, dirty.refs, self._items
            )
            update = {
                ref: item for ref, item in changed.items() if item is not None or ref in self._items
            }
        self._networks = networks
        return update | self._contents(update)

    def _contents(self, update: assignments.Update) -> assignments.Update:
        """Contents come with the first task that is granted them and go with the last."""
        if not any(ref.kind in (ItemKind.TASK, ItemKind.TRAFFIC) for ref in update):
            return {}
        items = {**self._items, **update}
        granted = assignments.granted(item for item in items.values() if item is not None)
        changed: assignments.Update = {}
        held = {ref.key for ref, item in self._items.items() if _is_content(item)}
        for key in held - granted:
            changed[ItemRef(kind=ItemKind.CONTENT, key=key)] = None
        for key in granted - held:
            try:
                value = self._open(*assignments.content_parts(key))
            except Refused as error:
                _log.error("node %s: %s", self._node, error.cause)
                continue
            changed[ItemRef(kind=ItemKind.CONTENT, key=key)] = assignments.content_item(key, value)
        return changed

    def _take(self, update: assignments.Update) -> None:
        for ref, item in update.items():
            if item is None:
                self._items.pop(ref, None)
            else:
                self._items[ref] = item


_ORDER = {kind: number for number, kind in enumerate(ItemKind)}


def _is_content(item: Item) -> bool:
    return isinstance(item, ContentItem)
