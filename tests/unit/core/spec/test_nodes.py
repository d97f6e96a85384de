from stackd.core.spec.nodes import (
    Entry,
    ListNode,
    MapNode,
    Place,
    Scalar,
    find,
    key_place_of,
    place_of,
    replaced,
    to_data,
    without,
)


def at(line: int, column: int = 1) -> Place:
    return Place("f", line, column)


LEAF = Scalar("x", at(2, 5))
ROOT = MapNode(
    {
        "a": Entry(at(2), MapNode({"b": Entry(at(2, 3), LEAF)}, at(2, 3))),
        "l": Entry(at(3), ListNode((Scalar("", at(3, 4), plain=True),), at(3, 3))),
    },
    at(1),
)


def test_data_has_texts_lists_dicts_and_none() -> None:
    assert to_data(ROOT) == {"a": {"b": "x"}, "l": [None]}


def test_places_of_values_and_keys() -> None:
    assert place_of(ROOT, ("a", "b")) == at(2, 5)
    assert key_place_of(ROOT, ("a", "b")) == at(2, 3)
    assert place_of(ROOT, ("l", 0)) == at(3, 4)


def test_place_of_what_is_not_written_is_what_is_around_it() -> None:
    assert place_of(ROOT, ("a", "missing", "deeper")) == at(2, 3)
    assert place_of(ROOT, ("l", 7)) == at(3, 3)


def test_a_place_inside_a_scalar_counts_the_quote() -> None:
    assert Scalar("abc", at(1, 4), lead=1).inside(2) == at(1, 7)
    assert Scalar("abc", at(1, 4)).inside(2) == at(1, 4)


def test_without_and_replaced_leave_the_original() -> None:
    assert to_data(without(ROOT, ("a", "b"))) == {"a": {}, "l": [None]}
    assert to_data(replaced(ROOT, ("a", "b"), Scalar("y", at(9)))) == {"a": {"b": "y"}, "l": [None]}
    assert find(ROOT, ("a", "b")) is LEAF
    assert without(ROOT, ("q", "r")) == ROOT


def test_only_plain_scalars_are_null() -> None:
    assert Scalar("~", at(1), plain=True).null
    assert not Scalar("", at(1)).null
