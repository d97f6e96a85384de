"""Placement constraints over node facts."""

import pytest

from stackd.core.model.fit import NodeView, fact, matches
from stackd.core.model.ids import NodeId
from stackd.core.model.node import Node, NodeStatus, Role
from stackd.core.model.stack import Constraint
from stackd.core.model.states import NodeState

VIEW = NodeView(
    Node(id=NodeId("id1"), name="Alpha", role=Role.MANAGER, labels={"disk": "SSD"}),
    NodeStatus(
        id=NodeId("id1"),
        state=NodeState.READY,
        address="10.1.2.3",
        arch="arm64",
        engine_labels={"gpu": "yes"},
    ),
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node.id", "id1"),
        ("node.hostname", "Alpha"),
        ("node.role", "manager"),
        ("node.ip", "10.1.2.3"),
        ("node.platform.os", "linux"),
        ("node.platform.arch", "arm64"),
        ("node.labels.disk", "SSD"),
        ("engine.labels.gpu", "yes"),
        ("node.labels.none", None),
        ("something.else", None),
    ],
)
def test_facts(key: str, value: str | None) -> None:
    assert fact(VIEW, key) == value


@pytest.mark.parametrize(
    ("key", "value", "equal", "expected"),
    [
        ("node.hostname", "alpha", True, True),
        ("node.labels.disk", "ssd", True, True),
        ("node.labels.disk", "ssd", False, False),
        ("node.labels.none", "x", True, False),
        ("node.labels.none", "x", False, True),
        ("node.ip", "10.1.0.0/16", True, True),
        ("node.ip", "10.2.0.0/16", True, False),
        ("node.ip", "10.2.0.0/16", False, True),
        ("node.ip", "nonsense", True, False),
    ],
)
def test_constraints(key: str, value: str, equal: bool, expected: bool) -> None:
    assert matches(VIEW, Constraint(key=key, value=value, equal=equal)) is expected
