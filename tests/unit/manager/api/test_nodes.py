"""`node ls`, and what an operator sets of a node."""

from collections.abc import Mapping

import pytest

from stackd.core.model.api import NameRequest, NodeRequest
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, NodeReport
from stackd.errors import Refused
from stackd.manager.api.nodes import NodeApi
from tests.fakes.harness import Harness
from tests.fakes.stacks import node
from tests.unit.manager.api.cases import CALLER, running

KEYS = ("id", "name", "role", "availability", "state", "address", "tasks")


def api(on: Harness) -> NodeApi:
    return NodeApi(on.context)


def kept(on: Harness) -> Node:
    [found] = on.world.all(Node)
    return found


async def test_a_row_has_exactly_the_keys_of_the_contract() -> None:
    async with Harness() as on:
        await running(on)
        [row] = (await api(on).list(NameRequest(), CALLER)).nodes
    assert row.__struct_fields__ == KEYS
    assert (row.name, row.state, row.address, row.tasks) == ("node1", "ready", "192.0.2.1", 2)


async def test_what_a_former_manager_knew_is_told_from_what_this_one_has_heard() -> None:
    async with Harness() as on:
        await running(on)
        assert (await api(on).list(NameRequest(), CALLER)).heard == ()
        on.tables.remember(NodeReport(id=NodeId(f"{1:012d}")))
        answer = await api(on).list(NameRequest(), CALLER)
    assert answer.heard == tuple(row.id for row in answer.nodes)


@pytest.mark.parametrize("name", ["node1", f"{1:012d}"])
async def test_a_node_by_name_or_id(name: str) -> None:
    async with Harness() as on:
        await on.put(*node())
        await api(on).update(NodeRequest(name=name, availability="drain"), CALLER)
        await on.settle()
        [row] = (await api(on).inspect(NameRequest(name=name), CALLER)).nodes
        assert row.availability == kept(on).availability == "drain"
        [event] = on.events("node.changed")
        assert (event.object, event.principal) == ("node1", "root@local")


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"disk": "ssd"}, {"disk": "ssd", "zone": "a"}),
        ({"zone": "b"}, {"zone": "b"}),
        ({"zone": None}, {}),
        ({"nosuch": None}, {"zone": "a"}),
    ],
)
async def test_labels(changes: Mapping[str, str | None], labels: Mapping[str, str]) -> None:
    async with Harness() as on:
        await on.put(*node(labels={"zone": "a"}))
        await api(on).update(NodeRequest(name="node1", labels=changes), CALLER)
        await on.settle()
        assert kept(on).labels == labels


@pytest.mark.parametrize(
    "request_",
    [
        NodeRequest(name="nosuch"),
        NodeRequest(name="node1", availability="gone"),
        NodeRequest(name="node1", labels={"": "x"}),
        NodeRequest(name="node1", labels={"a b": "x"}),
        NodeRequest(name="node1", labels={"a": "\x1b"}),
    ],
)
async def test_what_is_refused_changes_nothing(request_: NodeRequest) -> None:
    async with Harness() as on:
        await on.put(*node())
        before = on.store.revision
        with pytest.raises(Refused):
            await api(on).update(request_, CALLER)
        assert on.store.revision == before


async def test_the_same_again_writes_nothing() -> None:
    async with Harness() as on:
        await on.put(*node())
        before = on.store.revision
        await api(on).update(NodeRequest(name="node1", availability="active"), CALLER)
        assert on.store.revision == before
