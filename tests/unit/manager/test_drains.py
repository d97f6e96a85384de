"""Both traffic loops over a store: a task leaves step by step, also under a new leader."""

import msgspec

from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport
from stackd.core.model.states import Leaving, TaskState
from stackd.core.model.task import TaskDesired
from stackd.core.model.traffic import TrafficEntry
from stackd.manager import drains, traffic
from tests.fakes.harness import Harness
from tests.fakes.traffic import KEY, Town

LOOPS = (traffic.LOOP, drains.LOOP)


async def filled(h: Harness, *tasks: str) -> None:
    """The records of a small town, written to the harness's store."""
    town = Town(nodes=1)
    for task in tasks:
        town.task(task)
    for record in town.written:
        await h.put(record)


async def report(h: Harness, in_flight: dict[str, int] | None = None) -> None:
    """Node n0 has applied and counted all there is."""
    now = h.world.revision
    h.tables.remember(
        NodeReport(id=NodeId("n0"), applied=now, counted=now, in_flight=in_flight or {})
    )
    await h.settle()


def leaving(h: Harness, task: str) -> Leaving:
    view = h.world.task(task)
    assert view is not None
    return view.desired.leaving


async def stop(h: Harness, task: str) -> None:
    view = h.world.task(task)
    assert view is not None
    await h.put(msgspec.structs.replace(view.desired, stop=True))


def endpoints(h: Harness) -> dict[str, str]:
    entry = h.world.get(TrafficEntry, KEY)
    return {e.task: e.state.value for e in entry.endpoints} if entry else {}


async def test_a_task_leaves_on_the_word_of_the_node() -> None:
    async with Harness(LOOPS) as h:
        await filled(h, "a", "b")
        assert endpoints(h) == {"a": "ready", "b": "ready"}
        await stop(h, "a")
        assert endpoints(h) == {"a": "draining", "b": "ready"}
        await report(h, {"a": 1})
        assert leaving(h, "a") is Leaving.DRAINING
        await report(h)
        assert endpoints(h) == {"b": "ready"}
        await report(h)
        assert leaving(h, "a") is Leaving.DONE
        desired = h.world.get(TaskDesired, "a")
        assert desired is not None
        assert desired.state is TaskState.SHUTDOWN


async def test_time_alone_ends_a_drain() -> None:
    async with Harness(LOOPS) as h:
        await filled(h, "a", "b")
        await stop(h, "a")
        await report(h, {"a": 1})
        await h.advance(29)
        assert leaving(h, "a") is Leaving.DRAINING
        await h.advance(2)
        assert leaving(h, "a") is Leaving.OUT
