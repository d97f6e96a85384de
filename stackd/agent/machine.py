"""What a task's life needs of this node, in one value: drivers, clock, contents."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from stackd.agent.drivers import Images, NodeNetwork, Runtime
from stackd.aio.clock import Clock
from stackd.core.model.assignment import ContentItem


class Contents:
    """Granted configs and secrets, in memory only. Tasks wait here for those not yet sent."""

    def __init__(self) -> None:
        self._items: dict[str, ContentItem] = {}
        self._changed = asyncio.Event()

    def replace(self, items: Mapping[str, ContentItem]) -> None:
        """These are all there are now."""
        self._items = dict(items)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def held(self, key: str) -> bytes | None:
        """The value with this key, if it is here."""
        item = self._items.get(key)
        return item.value if item is not None else None

    async def get(self, key: str) -> ContentItem:
        """The content with this key, as soon as it is here."""
        while key not in self._items:
            await self._changed.wait()
        return self._items[key]


@dataclass(frozen=True, slots=True)
class Machine:
    """Shared by all tasks of a node."""

    runtime: Runtime
    images: Images
    network: NodeNetwork
    clock: Clock
    contents: Contents = field(default_factory=Contents)
