"""`node drain --wait` ends with the code that says how."""

import pytest

from stackd.core.model.api import WaitAnswer, WaitRequest
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Record
from stackd.core.model.states import Availability, NodeState, TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.errors import Refused
from stackd.manager.api.draining import DrainApi
from stackd.wire.control import Caller
from tests.fakes.harness import Harness

CALLER = Caller("root@local", "NodeWait")


def node(availability: Availability = Availability.DRAIN) -> list[Record]:
    ready = NodeStatus(id=NodeId("id1"), state=NodeState.READY)
    return [Node(id=NodeId("id1"), name="node1", availability=availability), ready]


def task(state: TaskState) -> list[Record]:
    key = TaskId("t1")
    made = Task(id=key, stack="shop", service="web", slot="1", revision=RevisionId("a"), node="id1")
    asked = TaskDesired(id=key, stop=True, state=TaskState.SHUTDOWN)
    return [made, asked, TaskStatus(id=key, state=state)]


async def answers(harness: Harness, timeout: float = 30.0) -> list[WaitAnswer]:
    api = DrainApi(harness.tables, harness.clock)
    request = WaitRequest(name="node1", timeout=timeout)
    return [answer async for answer in api.wait(request, CALLER)]


async def test_an_empty_node_is_done_at_once() -> None:
    async with Harness() as harness:
        await harness.put(*node())
        [last] = await answers(harness)
        assert (last.code, last.text) == (0, "nothing is left on it")


async def test_progress_then_the_end() -> None:
    async with Harness() as harness:
        await harness.put(*node(), *task(TaskState.RUNNING))
        api = DrainApi(harness.tables, harness.clock)
        stream = api.wait(WaitRequest(name="node1", timeout=30.0), CALLER)
        first = await anext(stream)
        assert (first.code, first.text) == (-1, "1 task is left: shop/web.1: it is stopping")
        await harness.put(*task(TaskState.SHUTDOWN))
        assert [answer.code async for answer in stream] == [0]


async def test_too_late_and_no_longer() -> None:
    async with Harness() as harness:
        await harness.put(*node(), *task(TaskState.RUNNING))
        [last] = await answers(harness, timeout=0.0)
        assert last.code == 4
        assert last.text.startswith("not within 0s: 1 task is left")
        await harness.put(*node(Availability.ACTIVE))
        [last] = await answers(harness)
        assert (last.code, last.text) == (5, "it is active again")


async def test_an_unknown_node_is_refused() -> None:
    async with Harness() as harness:
        with pytest.raises(Refused, match="There is no node node1"):
            await answers(harness)
