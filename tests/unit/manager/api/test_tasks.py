"""`ps`: its rows, their keys, and which tasks are shown."""

import msgspec

from stackd.core.model.api import NameRequest
from stackd.core.model.ids import NodeId
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.states import Health, NodeState, TaskState
from stackd.manager.api.status import StatusApi
from stackd.manager.api.tasks import TaskApi
from stackd.manager.api.waiting import WaitingApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import node, task
from tests.unit.manager.api.cases import CALLER, running, unmeasured

KEYS = {
    *("id", "stack", "service", "slot", "revision", "node", "state", "desired_state", "health"),
    *("in_flight", "addresses", "image", "error", "since"),
}


async def test_a_row_has_exactly_the_keys_of_the_contract() -> None:
    async with Harness() as on:
        revision = await running(on)
        [first, _] = (await TaskApi(on.tables).ps(NameRequest(name="shop"), CALLER)).tasks
        document = msgspec.json.decode(msgspec.json.encode(first))
    assert document == {
        "id": "task10000000",
        "stack": "shop",
        "service": "web",
        "slot": 1,
        "revision": revision,
        "node": "node1",
        "state": "running",
        "desired_state": "running",
        "health": "none",
        "in_flight": 0,
        "addresses": {"shop_default": "10.0.0.21"},
        "image": "web:1",
        "error": "",
        "since": "2023-11-14T22:13:20Z",
    }
    assert document.keys() == KEYS


async def test_slots_sort_as_numbers_and_global_ones_by_node() -> None:
    async with Harness() as on:
        await running(on)
        place, status = node(2)
        await on.put(place, status, *task("ten", slot="10"), *task("glob", slot=place.id))
        rows = (await TaskApi(on.tables).ps(NameRequest(), CALLER)).tasks
    assert [row.slot for row in rows] == [1, 2, 10, "node2"]


async def test_all_adds_the_last_five_of_each_slot() -> None:
    async with Harness() as on:
        await running(on)
        for number in range(7):
            await on.put(*task(f"old{number}", TaskState.FAILED, created=float(number + 1)))
        api = TaskApi(on.tables)
        assert len((await api.ps(NameRequest(name="shop/web"), CALLER)).tasks) == 2
        rows = (await api.ps(NameRequest(name="shop/web", all=True), CALLER)).tasks
    finished = [row.id[:4] for row in rows if row.state == "failed"]
    assert sorted(finished) == ["old2", "old3", "old4", "old5", "old6"]


async def test_a_leaving_task_says_why_and_what_it_still_carries() -> None:
    async with Harness() as on:
        await running(on)
        leaving = task("task1", desired_stop=True, desired_reason="replaced by b")
        one, two = (
            NodeReport(id=NodeId("a"), in_flight={"task10000000": 2}),
            NodeReport(id=NodeId("b"), in_flight={"task10000000": 3}),
        )
        await on.put(*leaving)
        on.tables.remember(one)
        on.tables.remember(two)
        rows = (await TaskApi(on.tables).ps(NameRequest(), CALLER)).tasks
    row = next(row for row in rows if row.id == "task10000000")
    assert (row.desired_state, row.error, row.in_flight) == ("shutdown", "replaced by b", 5)


async def test_what_is_on_a_lost_node_is_said_to_be_lost() -> None:
    async with Harness() as on:
        await running(on)
        [member] = on.world.all(Node)
        await on.put(NodeStatus(id=member.id, state=NodeState.DOWN))
        first = (await TaskApi(on.tables).ps(NameRequest(name="shop"), CALLER)).tasks[0]
        assert first.error == "its node node1 is down"
        binding = VolumeBinding(name="shop_data", node=member.id, slots=("shop/web.1",))
        await on.put(binding)
        first = (await TaskApi(on.tables).ps(NameRequest(name="shop"), CALLER)).tasks[0]
        assert first.error == "its node node1 is down, where its volume shop_data is"
        told = await WaitingApi(on.tables, on.clock).why(NameRequest(name="shop/web"), CALLER)
        assert any("its node node1 is down, where its volume" in line for line in told.lines)
        status = await StatusApi(on.tables, on.clock, unmeasured).status(
            NameRequest(name="shop/web"), CALLER
        )
        [web] = [s for s in status.stacks[0].services if s.service == "web"]
        assert [(row.running, row.ready) for row in web.revisions] == [(2, 0)]


async def test_health_is_a_word() -> None:
    async with Harness() as on:
        await running(on)
        await on.put(*task("task1", status_health=Health.UNHEALTHY, status_error="probe failed"))
        rows = (await TaskApi(on.tables).ps(NameRequest(name="task10000000"), CALLER)).tasks
    assert [(row.health, row.error) for row in rows] == [("unhealthy", "probe failed")]
