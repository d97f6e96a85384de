"""Putting the stream together: gaps and older leaders are refused, full replaces everything."""

from stackd.agent.assigned import Assigned
from stackd.core.model.assignment import Assignment, Item, ItemKind, ItemRef, NodeItem


def node(name: str, address: str = "192.0.2.1") -> NodeItem:
    return NodeItem(id=name, name=name, index=1, address=address)


def full(sequence: int, *put: Item, epoch: int = 1) -> Assignment:
    return Assignment(full=True, applies_to=0, sequence=sequence, epoch=epoch, put=put)


def names(assigned: Assigned) -> set[str]:
    return {item.key for item in assigned.nodes()}


def test_full_then_incremental() -> None:
    assigned = Assigned()
    assert assigned.apply(full(1, node("a"), node("b"))).kinds == {ItemKind.NODE}
    gone = (ItemRef(kind=ItemKind.NODE, key="a"),)
    change = Assignment(
        full=False, applies_to=1, sequence=2, epoch=1, put=(node("c"),), removed=gone
    )
    assert not assigned.apply(change).gap
    assert names(assigned) == {"b", "c"}
    assert assigned.sequence == 2


def test_gap_changes_nothing() -> None:
    assigned = Assigned()
    assigned.apply(full(1, node("a")))
    for applies_to in (0, 2, 7):
        late = Assignment(
            full=False, applies_to=applies_to, sequence=applies_to + 1, epoch=1, put=(node("x"),)
        )
        assert assigned.apply(late).gap
    assert names(assigned) == {"a"}
    assert assigned.sequence == 1


def test_an_older_leader_is_refused_whatever_it_says() -> None:
    assigned = Assigned()
    assigned.apply(full(5, node("a"), epoch=9))
    assert assigned.apply(full(1, node("x"), epoch=8)).gap
    assert assigned.apply(
        Assignment(full=False, applies_to=5, sequence=6, epoch=8, put=(node("x"),))
    ).gap
    assert names(assigned) == {"a"}
    assert not assigned.apply(full(1, node("b"), epoch=10)).gap
    assert names(assigned) == {"b"}


def test_a_repeated_full_touches_only_what_differs() -> None:
    assigned = Assigned()
    assigned.apply(full(1, node("a"), node("b")))
    assert assigned.apply(full(2, node("a"), node("b"))).kinds == frozenset()
    assert assigned.apply(full(3, node("a"), node("b", "192.0.2.9"))).kinds == {ItemKind.NODE}
    again = Assigned()
    again.apply(assigned.snapshot())
    assert list(again.nodes()) == list(assigned.nodes())
