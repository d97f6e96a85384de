"""Each filter says why a node cannot take a task."""

import pytest

from stackd.core.model.container import Resources
from stackd.core.model.fit import NodeView
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.stack import Constraint, Placement
from stackd.core.model.states import Availability, NodeState
from stackd.core.schedule import filters
from stackd.core.schedule.filters import Needs
from stackd.core.schedule.load import Like, Load

NODE = Node(id=NodeId("n1"), name="one", labels={"disk": "ssd"})
STATUS = NodeStatus(id=NodeId("n1"), state=NodeState.READY, cpus=2, memory=1000)
HERE = NodeView(NODE, STATUS)


def needs(
    reserve: Resources | None = None,
    platforms: tuple[tuple[str, str], ...] = (),
    **placement: object,
) -> Needs:
    return Needs("s/w", Placement(**placement), reserve or Resources(), platforms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("view", "wants", "reason"),
    [
        (HERE, needs(), ""),
        (NodeView(NODE, NodeStatus(id=NODE.id, state=NodeState.DOWN)), needs(), "down"),
        (NodeView(NODE, NodeStatus(id=NODE.id, state=NodeState.UNKNOWN)), needs(), "not heard yet"),
        (
            NodeView(Node(id=NODE.id, name="x", availability=Availability.PAUSE), STATUS),
            needs(),
            "paused",
        ),
        (
            NodeView(Node(id=NODE.id, name="x", availability=Availability.DRAIN), STATUS),
            needs(),
            "being drained",
        ),
        (HERE, needs(platforms=(("linux", "arm64"),)), "with another platform"),
        (HERE, needs(platforms=(("linux", "amd64"),)), ""),
        (
            HERE,
            needs(constraints=(Constraint(key="node.labels.disk", value="hdd"),)),
            "without node.labels.disk == hdd",
        ),
    ],
)
def test_facts_of_the_node(view: NodeView, wants: Needs, reason: str) -> None:
    assert filters.fixed(wants, view) == reason


def test_what_it_carries() -> None:
    load = Load()
    load.add(Like("s/w", "a"), "1", Resources(reserve_cpus=1.5, reserve_memory=600))
    assert filters.room(needs(Resources(reserve_memory=500)), HERE, load, "2") == "without memory"
    assert filters.room(needs(Resources(reserve_cpus=0.6)), HERE, load, "2") == "without CPU"
    assert filters.room(needs(Resources(reserve_cpus=0.5)), HERE, load, "2") == ""
    capped = needs(max_replicas_per_node=1)
    assert filters.room(capped, HERE, load, "2") == "with 1 of its replicas already"
    assert filters.room(capped, HERE, load, "1") == "", "a replacement shares its slot"


def test_the_sentence_counts_reasons() -> None:
    reasons = ["paused", "without memory", "", "without memory"]
    assert filters.explain(reasons) == "no node has room: 2 without memory; 1 paused"
    assert filters.explain([]) == "no node has joined"
