"""Notices of nodes become events, each once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from stackd.aio.clock import settle
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, Notice
from stackd.manager.loop import Context
from stackd.manager.notices import Notices
from tests.fakes.harness import Harness

SAID = (
    Notice(at=10.0, kind="node.repaired", text="one"),
    Notice(at=10.0, kind="node.repaired", text="two"),
)


@contextlib.asynccontextmanager
async def term(harness: Harness) -> AsyncIterator[Notices]:
    """One term of a leader."""
    notices = Notices(Context(harness.tables, harness.clock, harness.ids))
    running = asyncio.ensure_future(notices.run())
    try:
        yield notices
        await settle()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def texts(harness: Harness) -> Sequence[tuple[str, str, float]]:
    return [(e.object, e.text, e.at) for e in harness.events("node.repaired")]


async def test_each_is_one_event_also_when_it_is_said_again_to_another_leader() -> None:
    async with Harness() as harness:
        await harness.put(Node(id=NodeId("n1"), name="node1"))
        for _ in range(2):
            async with term(harness) as notices:
                for _ in range(3):
                    notices.put("n1", SAID)
        assert texts(harness) == [("node1", "one", 10.0), ("node1", "two", 10.0)]
        async with term(harness) as notices:
            notices.put("n1", [Notice(at=11.0, kind="node.repaired", text="one")])
        assert texts(harness)[2:] == [("node1", "one", 11.0)]


async def test_many_are_written_in_several_commits() -> None:
    async with Harness() as harness:
        await harness.put(Node(id=NodeId("n1"), name="node1"))
        async with term(harness) as notices:
            many = [Notice(at=1.0, kind="node.repaired", text=f"{n:03}") for n in range(150)]
            notices.put("n1", many)
        assert [text for _, text, _ in texts(harness)] == [notice.text for notice in many]
