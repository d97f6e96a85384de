"""`events`: listing, following, and the chain of causes."""

import asyncio

import pytest

from stackd.core.model.api import EventsRequest
from stackd.core.model.event import Event
from stackd.manager.api.events import EventApi, chain
from tests.fakes.harness import Harness
from tests.fakes.stacks import NOW, task
from tests.unit.manager.api.cases import CALLER, collected

KEYS = ("id", "at", "kind", "object", "principal", "cause", "text")


def event(name: str, cause: str = "", about: str = "shop") -> Event:
    return Event(id=name, at=NOW, kind="x.y", object=about, principal="p", cause=cause)


async def listed(request: EventsRequest, *events: Event) -> list[str]:
    async with Harness() as on:
        await on.put(*events, *task("task1"))
        rows = await collected(EventApi(on.tables).events(request, CALLER))
    return [row.id for row in rows]


async def test_a_row_has_exactly_the_keys_of_the_contract() -> None:
    async with Harness() as on:
        await on.put(event("e1"))
        [row] = await collected(EventApi(on.tables).events(EventsRequest(), CALLER))
    assert row.__struct_fields__ == KEYS
    assert row.at == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("tail", "expected"), [(2, ["e2", "e3"]), (9, ["e1", "e2", "e3"]), (0, []), (-1, None)]
)
async def test_the_tail(tail: int, expected: list[str] | None) -> None:
    found = await listed(EventsRequest(tail=tail), event("e1"), event("e2"), event("e3"))
    assert found == (expected or (["e1", "e2", "e3"] if expected is None else []))


async def test_events_of_a_stack_are_those_of_its_services_and_tasks() -> None:
    events = (
        event("e1", about="shop"),
        event("e2", about="shop/web"),
        event("e3", about="task10000000"),
        event("e4", about="shopping"),
        event("e5", about="node1"),
    )
    assert await listed(EventsRequest(name="shop"), *events) == ["e1", "e2", "e3"]
    assert await listed(EventsRequest(name="shop/web"), *events) == ["e2", "e3"]


def test_a_chain_is_all_causes_and_all_effects() -> None:
    events = [
        event("e1"),
        event("e2", "e1"),
        event("e3", "e1"),
        event("e4", "e2"),
        event("e5", "e4"),
        event("e6"),
    ]
    assert [e.id for e in chain(events, "e4")] == ["e1", "e2", "e4", "e5"]
    assert chain(events, "nosuch") == []


async def test_following_gives_each_new_event_once() -> None:
    async with Harness() as on:
        await on.put(event("e1"), event("e2", about="other"))
        rows: list[str] = []

        async def follow() -> None:
            request = EventsRequest(name="shop", follow=True)
            async for row in EventApi(on.tables).events(request, CALLER):
                rows.append(row.id)

        following = asyncio.ensure_future(follow())
        await on.settle()
        await on.put(event("e3"), event("e4", about="other"))
        await on.put(event("e5"))
        following.cancel()
        await asyncio.wait([following])
    assert rows == ["e1", "e3", "e5"]


async def test_following_a_trace_gives_only_its_effects() -> None:
    async with Harness() as on:
        await on.put(event("e1"))
        rows: list[str] = []

        async def follow() -> None:
            request = EventsRequest(trace="e1", follow=True)
            async for row in EventApi(on.tables).events(request, CALLER):
                rows.append(row.id)

        following = asyncio.ensure_future(follow())
        await on.settle()
        await on.put(event("e2", "e1"), event("e3"), event("e4", "e2"))
        following.cancel()
        await asyncio.wait([following])
    assert rows == ["e1", "e2", "e4"]
