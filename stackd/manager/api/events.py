"""Events: list, follow, and the causal chain of one."""

from collections.abc import AsyncIterator

from stackd.core.model.api import EventRow, EventsRequest
from stackd.core.model.event import Event
from stackd.core.model.times import rfc3339
from stackd.core.model.world import World
from stackd.manager.api import names
from stackd.store.subscription import Subscription
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class EventApi:
    """Handlers about events."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def events(self, request: EventsRequest, caller: Caller) -> AsyncIterator[EventRow]:
        """Kept events, oldest first, then new ones if asked to follow."""
        world = self._tables.world
        subscription = self._tables.subscribe(Event)
        try:
            known = {e.id for e in world.all(Event)}
            kept = [e for e in world.all(Event) if _about(world, e, request.name)]
            if request.trace:
                kept = chain(kept, request.trace)
            for event in kept[max(0, len(kept) - request.tail) :] if request.tail >= 0 else kept:
                yield row(world, event)
            if request.follow:
                async for event in _fresh(world, subscription, known):
                    ids = {e.id for e in kept}
                    traced = not request.trace or event.cause in ids or event.id == request.trace
                    if traced and _about(world, event, request.name):
                        kept = [*kept, event] if request.trace else kept
                        yield row(world, event)
        finally:
            self._tables.unsubscribe(subscription)


async def _fresh(world: World, subscription: Subscription, known: set[str]) -> AsyncIterator[Event]:
    """Events that were not there before, in order, each once."""
    while True:
        dirty = await subscription.next(None)
        found = (
            list(world.all(Event))
            if dirty.everything
            else [e for r in dirty.refs if (e := world.get(Event, r.key)) is not None]
        )
        for event in sorted(found, key=lambda e: e.id):
            if event.id not in known:
                known.add(event.id)
                yield event


def _about(world: World, event: Event, name: str) -> bool:
    object_ = names.shown(world, event.object)
    if not name or object_ == name or object_.startswith((f"{name}/", f"{name}.")):
        return True
    view = world.task(event.object)
    if view is None:
        return False
    service = f"{view.task.stack}/{view.task.service}"
    return name in (view.task.stack, service)


def chain(events: list[Event], start: str) -> list[Event]:
    """The event `start`, all that led to it, and all that it led to; oldest first."""
    by_id = {event.id: event for event in events}
    kept: set[str] = set()
    current = by_id.get(start)
    while current is not None and current.id not in kept:
        kept.add(current.id)
        current = by_id.get(current.cause)
    for event in sorted(events, key=lambda e: e.id):
        if event.cause in kept and (event.cause >= start or event.id == start):
            kept.add(event.id)
    return [event for event in sorted(events, key=lambda e: e.id) if event.id in kept]


def row(world: World, event: Event) -> EventRow:
    """The answer for one event."""
    return EventRow(
        id=event.id,
        at=rfc3339(event.at),
        kind=event.kind,
        object=names.shown(world, event.object),
        principal=event.principal,
        cause=event.cause,
        text=event.text,
    )
