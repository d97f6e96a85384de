"""Bytes of one stack file -> node tree, with every limit checked before anything is built.

Works on the event stream of libyaml, which needs no recursion; PyYAML's own composing crashes the
process on deep nesting and resolves merge keys, words and numbers in ways a stack file must not.
Called by `loading`.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

import yaml

from stackd.core.spec.nodes import Entry, ListNode, MapNode, Node, Place, Scalar
from stackd.core.spec.problems import Report, Stop

MAX_FILE_BYTES = 512 * 1024
MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_NODES = 5000
MAX_TEXT = 2 * 1024 * 1024
"""Characters of a stack after aliases, merges and interpolation."""

_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\x00]")


class Budget:
    """What the files of one stack may still use together. Raises `Stop` when it is spent."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._nodes = 0
        self._text = 0

    def spend(self, place: Place, nodes: int, text: int) -> None:
        """Count `nodes` nodes and `text` characters."""
        self._nodes += nodes
        self._text += text
        if self._nodes > MAX_NODES:
            self._report.error(place, f"the stack has more than {MAX_NODES} nodes")
            raise Stop
        if self._text > MAX_TEXT:
            self._report.error(place, f"the stack has more than {MAX_TEXT} characters")
            raise Stop


@dataclass(frozen=True, slots=True)
class _Anchored:
    node: Node
    nodes: int
    text: int


def _weigh(node: Node) -> tuple[int, int]:
    """Nodes and characters below `node`, keys counted, aliases expanded."""
    if isinstance(node, Scalar):
        return 1, len(node.text)
    if isinstance(node, ListNode):
        parts = [_weigh(item) for item in node.items]
    else:
        parts = [_weigh(entry.value) for entry in node.entries.values()]
        parts += [(1, len(key)) for key in node.entries]
    return 1 + sum(part[0] for part in parts), sum(part[1] for part in parts)


class _Reader:
    """One pass over the events of one file."""

    def __init__(self, file: str, text: str, budget: Budget, report: Report) -> None:
        self._file = file
        self._loader = yaml.CSafeLoader(text)
        self._budget = budget
        self._report = report
        self._anchors: dict[str, _Anchored] = {}
        self._open: set[str] = set()
        self._aliases = 0

    def document(self) -> Node:
        """The only document of the file."""
        self._next()
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            self._fatal(event, "the file is empty")
        node = self._node(self._next(), 1)
        self._next()
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            self._fatal(event, "a stack file is one YAML document, and a second one starts here")
        return node

    def close(self) -> None:
        """Free libyaml's parser."""
        self._loader.dispose()

    def _next(self) -> yaml.Event:
        event = self._loader.get_event()
        assert event is not None, "nothing is read after the end of the stream"
        return event

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None, "libyaml marks every event"
        return Place(self._file, mark.line + 1, mark.column + 1)

    def _fatal(self, event: yaml.Event, text: str) -> NoReturn:
        self._report.error(self._place(event), text)
        raise Stop

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        if depth > MAX_DEPTH:
            self._fatal(event, f"nested more than {MAX_DEPTH} levels deep")
        assert isinstance(event, yaml.NodeEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._report.error(place, f"the tag {tag} is not allowed: write the plain value")
        anchor = event.anchor
        if anchor is not None:
            self._open.add(anchor)
        node = self._content(event, place, depth)
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = _Anchored(node, *_weigh(node))
        return node

    def _content(self, event: yaml.Event, place: Place, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        self._budget.spend(place, 1, 0)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        return self._mapping(place, depth)

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        text = event.value
        self._budget.spend(place, 1, len(text))
        if "\x00" in text:
            self._report.error(place, "a NUL character is not allowed")
        quote = 1 if event.style in ("'", '"') else 0
        start, end = event.start_mark, event.end_mark
        assert start is not None, "libyaml marks every event"
        assert end is not None, "libyaml marks every event"
        width, same_line = end.column - start.column, start.line == end.line
        exact = same_line and width == len(text) + 2 * quote and event.style in ("'", '"', "", None)
        plain = event.style in ("", None)
        return Scalar(text, place, plain, quote if exact else None)

    def _alias(self, event: yaml.AliasEvent, place: Place) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._fatal(event, f"more than {MAX_ALIASES} aliases")
        name = str(event.anchor)
        if name in self._open:
            self._fatal(event, f"*{name} stands inside the very value that &{name} names")
        if name not in self._anchors:
            self._fatal(event, f"*{name} refers to no anchor above it")
        found = self._anchors[name]
        self._budget.spend(place, found.nodes, found.text)
        return found.node

    def _sequence(self, place: Place, depth: int) -> ListNode:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return ListNode(tuple(items), place)

    def _mapping(self, place: Place, depth: int) -> MapNode:
        entries: dict[str, Entry] = {}
        merges: list[Node] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if not isinstance(key, Scalar) or key.null:
                self._report.error(key.place, "a key must be a text")
            elif key.plain and key.text == "<<":
                if merges:
                    self._report.error(key.place, "`<<` stands twice: use `<<: [*one, *two]`")
                merges.append(value)
            elif key.text in entries:
                first = entries[key.text].key_place
                self._report.error(
                    key.place, f"duplicate key {key.text} (first: line {first.line})"
                )
            else:
                entries[key.text] = Entry(key.place, value)
        for node in merges:
            self._merge(entries, node, place)
        return MapNode(entries, place)

    def _merge(self, entries: dict[str, Entry], source: Node, place: Place) -> None:
        """Take in what `<<` brings: keys written out win, then earlier sources before later."""
        for node in source.items if isinstance(source, ListNode) else (source,):
            if not isinstance(node, MapNode):
                self._report.error(node.place, "`<<` takes a mapping or a list of mappings")
                continue
            for key, entry in node.entries.items():
                nodes, text = _weigh(entry.value)
                self._budget.spend(place, nodes + 1, text + len(key))
                entries.setdefault(key, entry)


def decode(file: str, data: bytes, report: Report) -> str:
    """The text of a file: UTF-8 without byte order mark, NUL or invisible characters.

    Raises:
        Stop: it is none of this or too long; the report says where.
    """
    if len(data) > MAX_FILE_BYTES:
        head = data[:MAX_FILE_BYTES]
        place = Place(file, head.count(b"\n") + 1, len(head) - head.rfind(b"\n"))
        report.error(place, f"the file is longer than {MAX_FILE_BYTES // 1024} KiB")
        raise Stop
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        report.error(Place(file, 1, 1), "a byte order mark is not allowed: save the file as UTF-8")
        raise Stop
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        head = data[: error.start]
        place = Place(file, head.count(b"\n") + 1, len(head) - head.rfind(b"\n"))
        report.error(place, f"byte 0x{data[error.start]:02x} is not UTF-8")
        raise Stop from error
    if found := _INVISIBLE.search(text):
        start = found.start()
        line = text.count("\n", 0, start) + 1
        column = start - text.rfind("\n", 0, start)
        name = f"U+{ord(found.group()):04X}"
        report.error(Place(file, line, column), f"the invisible character {name} is not allowed")
        raise Stop
    return text


def read(file: str, data: bytes, budget: Budget, report: Report) -> MapNode:
    """The mapping that a stack file is.

    Raises:
        Stop: it cannot be read; the report says where and why.
    """
    reader = None
    try:
        reader = _Reader(file, decode(file, data, report), budget, report)
        root = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        report.error(place, f"not YAML: {error.problem or error.context}")
        raise Stop from error
    except yaml.YAMLError as error:
        report.error(Place(file, 1, 1), f"not YAML: {' '.join(str(error).split())}")
        raise Stop from error
    finally:
        if reader is not None:
            reader.close()
    if isinstance(root, MapNode):
        return root
    report.error(root.place, "a stack file is a mapping with the key `services`")
    raise Stop
