"""Weights as they act."""

import pytest

from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.core.traffic import effective


def endpoint(task: str, revision: str, *, ready: bool = True) -> Endpoint:
    state = EndpointState.READY if ready else EndpointState.DRAINING
    return Endpoint(
        task=TaskId(task),
        revision=RevisionId(revision),
        node=NodeId("n"),
        state=state,
        addresses={},
    )


def entry(weights: dict[str, int], *endpoints: Endpoint) -> TrafficEntry:
    return TrafficEntry(stack="s", service="w", weights=weights, endpoints=endpoints)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"a": 1, "b": 1, "c": 1}, {"a": 3334, "b": 3333, "c": 3333}),
        ({"a": 5}, {"a": 10000}),
        ({"a": 0, "b": 3}, {"a": 0, "b": 10000}),
        ({"a": 0}, {}),
        ({}, {}),
    ],
)
def test_shares_sum_to_the_total(parts: dict[str, int], expected: dict[str, int]) -> None:
    assert effective.shares(parts) == expected


def test_a_revision_without_a_ready_endpoint_passes_its_share_on() -> None:
    wanted = {"r1": 5000, "r2": 3000, "r3": 2000}
    found = entry(
        wanted, endpoint("a", "r2"), endpoint("b", "r3"), endpoint("c", "r1", ready=False)
    )
    assert effective.weights(found) == {"r2": 6000, "r3": 4000}


def test_a_ready_revision_with_weight_0_gets_nothing_even_alone() -> None:
    assert effective.weights(entry({"r1": 10000, "r2": 0}, endpoint("a", "r2"))) == {}


def test_endpoints_share_the_weight_of_their_revision() -> None:
    found = entry({"r1": 5000, "r2": 5000}, *(endpoint(t, "r1") for t in "ab"), endpoint("c", "r2"))
    weights = effective.endpoint_weights(found)
    assert weights["a"] + weights["b"] == weights["c"]


def test_what_leaves_is_what_drains_and_all_of_a_withdrawn_service() -> None:
    parts = (endpoint("a", "r1"), endpoint("b", "r1", ready=False))
    assert [e.task for e in effective.leaving(entry({}, *parts))] == ["b"]
    withdrawn = TrafficEntry(stack="s", service="w", endpoints=parts, listening=False)
    assert [e.task for e in effective.leaving(withdrawn)] == ["a", "b"]
