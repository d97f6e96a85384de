"""What revisions really get, counted from when the present weights act."""

from collections.abc import Mapping

from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Count, Measured
from stackd.manager.shares import Shares

OLD, NEW = RevisionId("old"), RevisionId("new")
KEY = "shop/web"


def counts(old: int, new: int, mirrored: int = 0) -> Measured:
    both = ((OLD, old, 0), (NEW, new + mirrored, mirrored))
    return Measured(
        counts=tuple(
            Count(
                stack="shop",
                service="web",
                revision=revision,
                requests=requests,
                errors=0,
                mirrored=shadows,
            )
            for revision, requests, shadows in both
        )
    )


def test_what_a_node_could_not_say_for_a_while_comes_in_one_message_and_adds_up() -> None:
    found = shares({KEY: {OLD: 8000, NEW: 2000}})
    found.put("n1", counts(1, 1))
    late = Measured(counts=(*counts(80, 20).counts, *counts(8, 2).counts))
    found.put("n1", late)
    assert found.of(KEY) == {OLD: 88, NEW: 22}


def test_connections_to_a_tcp_port_count_as_well() -> None:
    found = shares({KEY: {OLD: 8000, NEW: 2000}})
    one = Count(stack="shop", service="web", revision=OLD, requests=0, errors=0, connections=7)
    for _ in range(2):
        found.put("n1", Measured(counts=(one,)))
    assert found.of(KEY) == {OLD: 7}


def shares(acting: Mapping[str, Mapping[str, int]]) -> Shares:
    return Shares(lambda key: acting.get(key, {}))


def test_counts_of_all_nodes_add_up_but_the_first_of_each_which_began_before() -> None:
    found = shares({KEY: {OLD: 8000, NEW: 2000}})
    found.put("n1", counts(100, 0))
    assert found.of(KEY) == {}
    found.put("n1", counts(80, 20))
    found.put("n2", counts(50, 50))
    found.put("n2", counts(8, 2))
    assert found.of(KEY) == {OLD: 88, NEW: 22}


def test_other_weights_begin_anew() -> None:
    acting: dict[str, Mapping[str, int]] = {KEY: {OLD: 8000, NEW: 2000}}
    found = shares(acting)
    for _ in range(2):
        found.put("n1", counts(80, 20))
    acting[KEY] = {OLD: 5000, NEW: 5000}
    assert found.of(KEY) == {}
    found.put("n1", counts(80, 20))
    found.put("n1", counts(5, 5))
    assert found.of(KEY) == {OLD: 5, NEW: 5}


def test_mirrored_requests_are_no_part_and_what_has_one_revision_is_not_counted() -> None:
    acting: dict[str, Mapping[str, int]] = {KEY: {OLD: 9000, NEW: 1000}}
    found = shares(acting)
    for _ in range(2):
        found.put("n1", counts(90, 10, mirrored=45))
    assert found.of(KEY) == {OLD: 90, NEW: 10}
    acting[KEY] = {NEW: 10_000}
    assert found.of(KEY) == {}
    found.put("n1", counts(1, 9))
    acting[KEY] = {OLD: 9000, NEW: 1000}
    assert found.of(KEY) == {}
