from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.core.network import slots


def endpoint(address: str, revision: str, state: EndpointState = EndpointState.READY) -> Endpoint:
    return Endpoint(
        task=TaskId(address),
        revision=RevisionId(revision),
        node="n",
        state=state,
        addresses={"net": address},
    )


def test_equal_weights_are_one_slot_each() -> None:
    shared = slots.share_out({"a": ["1", "2"], "b": ["3"]}, {"a": 6666, "b": 3333})
    assert sorted(shared) == ["1", "2", "3"]


def test_one_revision_is_one_slot_each_whatever_its_weight() -> None:
    assert slots.share_out({"a": ["1", "2"]}, {"a": 700}) == ("1", "2")


def test_weights_are_shares_of_a_thousand() -> None:
    shared = Counter(slots.share_out({"a": ["1", "2", "3"], "b": ["4"]}, {"a": 9500, "b": 500}))
    assert shared == {"1": 317, "2": 317, "3": 316, "4": 50}


def test_a_revision_without_ready_endpoints_leaves_its_share_to_the_others() -> None:
    entry = TrafficEntry(
        stack="s",
        service="v",
        vips={"net": "10.0.0.9"},
        endpoints=(
            endpoint("1", "a"),
            endpoint("2", "b", EndpointState.DRAINING),
        ),
        weights={"a": 1000, "b": 9000},
    )
    assert slots.vip_table([entry]).slots == {"10.0.0.9": ("1",)}


def test_a_revision_of_weight_zero_gets_nothing_even_alone() -> None:
    assert slots.share_out({"b": ["2"]}, {"a": 10000, "b": 0}) == ()


def test_a_weight_that_a_thousand_slots_would_round_away_takes_ten_thousand() -> None:
    for weight in (1, 7, 55):
        shared = Counter(
            slots.share_out({"a": ["1"], "b": ["2"]}, {"a": 10_000 - weight, "b": weight})
        )
        assert shared == {"1": 10_000 - weight, "2": weight}
    assert len(slots.share_out({"a": ["1"], "b": ["2"]}, {"a": 9_950, "b": 50})) == 1_000


def test_without_weights_every_endpoint_counts_the_same() -> None:
    assert slots.share_out({"a": ["1"], "b": ["2", "3"]}, {}) == ("1", "2", "3")


def test_more_than_a_thousand_weighted_endpoints_take_ten_thousand_slots() -> None:
    many = [str(n) for n in range(1500)]
    shared = Counter(slots.share_out({"a": many, "b": ["x"]}, {"a": 9999, "b": 1}))
    assert (len(shared), shared["x"]) == (1501, 1)


def test_each_network_has_its_own_backends() -> None:
    two = Endpoint(
        task=TaskId("t"),
        revision=RevisionId("a"),
        node="n",
        state=EndpointState.READY,
        addresses={"net": "1", "other": "2"},
    )
    entry = TrafficEntry(
        stack="s", service="v", vips={"net": "9", "other": "8", "third": "7"}, endpoints=(two,)
    )
    table = slots.vip_table([entry])
    assert table.slots == {"9": ("1",), "8": ("2",), "7": ()}
    assert table.moduli == {1}


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.integers(1, 9), st.integers(0, 10000)), min_size=1
    )
)
def test_shares_follow_the_weights_to_within_a_slot_per_backend(
    revisions: dict[str, tuple[int, int]],
) -> None:
    by_revision = {r: [f"{r}{n}" for n in range(count)] for r, (count, _) in revisions.items()}
    weights = {r: weight for r, (_, weight) in revisions.items()}
    shared = slots.share_out(by_revision, weights)
    total = sum(weights.values())
    if not total:
        assert shared == ()
        return
    for revision, weight in weights.items():
        got = sum(1 for address in shared if address[0] == revision)
        assert abs(got / len(shared) - weight / total) <= 1 / len(shared)
        each = Counter(a for a in shared if a[0] == revision).values()
        assert not each or max(each) - min(each) <= 1
