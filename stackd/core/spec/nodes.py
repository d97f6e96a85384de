"""A YAML document as a small tree that remembers where everything was written.

Made by `reader`; changed by `interpolation` and `merging`; read by `validation` and by everything
that has to name a place. All scalars stay text: what a text means depends on the key that holds
it (`no` is a word in an environment and a boolean under `read_only`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text. `plain` is false when it was quoted, a block, or the result of interpolation.

    `lead` is how many columns stand before the text (a quote), or None when the text in the file
    differs from this one (escapes, folded lines) so that places inside it are unknown.
    """

    text: str
    place: Place
    plain: bool = False
    lead: int | None = None

    @property
    def null(self) -> bool:
        """YAML's null: an absent value."""
        return self.plain and self.text in NULLS

    def inside(self, offset: int) -> Place:
        """The place of the character at `offset`, or of the scalar when that is unknown."""
        if self.lead is None:
            return self.place
        return replace(self.place, column=self.place.column + self.lead + offset)


@dataclass(frozen=True, slots=True)
class ListNode:
    """A sequence."""

    items: tuple["Node", ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a mapping and where its key stands."""

    key_place: Place
    value: "Node"


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping; keys are texts, in the order of the file."""

    entries: dict[str, Entry]
    place: Place

    def get(self, key: str) -> "Node | None":
        """The value at `key`, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None


Node: TypeAlias = Scalar | ListNode | MapNode
Data: TypeAlias = "str | list[Data] | dict[str, Data] | None"
Path: TypeAlias = tuple[str | int, ...]


def to_data(node: Node) -> Data:
    """The tree as plain lists, dicts, texts and None."""
    match node:
        case Scalar():
            return None if node.null else node.text
        case ListNode():
            return [to_data(item) for item in node.items]
        case MapNode():
            return {key: to_data(entry.value) for key, entry in node.entries.items()}


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node, MapNode):
        return node.get(str(part))
    if isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def place_of(root: Node, path: Sequence[str | int]) -> Place:
    """Where the value at `path` stands; the nearest thing around it when it is not written out."""
    node = root
    for part in path:
        found = _child(node, part)
        if found is None:
            break
        node = found
    return node.place


def key_place_of(root: Node, path: Sequence[str | int]) -> Place:
    """Where the key that ends `path` stands; as `place_of` for items of lists."""
    node = root
    for part in path[:-1]:
        found = _child(node, part)
        if found is None:
            return node.place
        node = found
    if path and isinstance(node, MapNode) and (entry := node.entries.get(str(path[-1]))):
        return entry.key_place
    return place_of(root, path)


def find(root: Node, path: Sequence[str | int]) -> Node | None:
    """The value at `path`, or None."""
    node: Node | None = root
    for part in path:
        node = _child(node, part) if node is not None else None
    return node


def replaced(root: Node, path: Sequence[str], value: Node) -> Node:
    """The same tree with `value` in the place of an entry of a mapping."""
    if not path:
        return value
    if not isinstance(root, MapNode) or path[0] not in root.entries:
        return root
    entry = root.entries[path[0]]
    inner = replaced(entry.value, path[1:], value)
    return MapNode({**root.entries, path[0]: Entry(entry.key_place, inner)}, root.place)


def without(root: Node, path: Sequence[str | int]) -> Node:
    """The same tree without the mapping entry at `path`."""
    if not path or not isinstance(root, (MapNode, ListNode)):
        return root
    head, rest = path[0], path[1:]
    if isinstance(root, ListNode):
        items = list(root.items)
        if isinstance(head, int) and head < len(items):
            items[head] = without(items[head], rest)
        return ListNode(tuple(items), root.place)
    entries = dict(root.entries)
    entry = entries.get(str(head))
    if entry is not None and rest:
        entries[str(head)] = Entry(entry.key_place, without(entry.value, rest))
    elif entry is not None:
        del entries[str(head)]
    return MapNode(entries, root.place)
