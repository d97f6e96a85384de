"""Several stack files -> one node tree, as Compose merges files given with repeated `-f`.

Mappings are merged, single values replaced by the later file, lists joined; ports, volumes,
configs and secrets are one item each per published port or target; a command, an entrypoint and
a health check's test are replaced whole. Called by `loading`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stackd.core.spec import ports
from stackd.core.spec.nodes import Data, Entry, ListNode, MapNode, Node, Scalar, to_data

_REPLACED = frozenset({"command", "entrypoint", "test"})
_PAIRS = frozenset({"environment", "labels"})
_NAMES = frozenset({"networks", "depends_on"})
_SINGLE = frozenset({"env_file", "tmpfs"})


def _volume(data: Data) -> str | None:
    if isinstance(data, str):
        return data.split(":")[1] if ":" in data else data
    return str(data["target"]) if isinstance(data, dict) and "target" in data else None


def _grant(data: Data) -> str | None:
    if isinstance(data, str):
        return data
    if not isinstance(data, dict):
        return None
    return str(data.get("target") or data.get("source"))


def _itself(data: Data) -> str | None:
    return data if isinstance(data, str) else None


_IDENTITY: Mapping[str, Callable[[Any], str | None]] = {
    "ports": ports.identity,
    "volumes": _volume,
    "configs": _grant,
    "secrets": _grant,
    "cap_add": _itself,
    "cap_drop": _itself,
    "constraints": _itself,
}


def _as_map(key: str, node: Node) -> Node:
    """The list forms of pairs and names as mappings; everything else unchanged."""
    if not isinstance(node, ListNode) or not all(isinstance(i, Scalar) for i in node.items):
        return node
    entries: dict[str, Entry] = {}
    for item in node.items:
        assert isinstance(item, Scalar)
        if key in _NAMES:
            entries[item.text] = Entry(item.place, Scalar("", item.place, plain=True))
            continue
        name, equals, value = item.text.partition("=")
        entries[name] = Entry(item.place, Scalar(value, item.place, plain=not equals))
    return MapNode(entries, node.place)


def _dependencies(node: Node) -> Node:
    """A list of `depends_on` as a mapping with conditions; everything else unchanged."""
    if not isinstance(node, ListNode):
        return node
    mapped = _as_map("depends_on", node)
    if not isinstance(mapped, MapNode):
        return node
    condition = "service_started"
    entries = {
        name: Entry(
            entry.key_place,
            MapNode(
                {"condition": Entry(entry.key_place, Scalar(condition, entry.key_place))},
                entry.key_place,
            ),
        )
        for name, entry in mapped.entries.items()
    }
    return MapNode(entries, node.place)


def _lists(key: str, base: ListNode, over: ListNode) -> ListNode:
    identity = _IDENTITY.get(key)
    if identity is None:
        return ListNode((*base.items, *over.items), over.place)
    found: dict[str, Node] = {}
    for number, item in enumerate((*base.items, *over.items)):
        found[identity(to_data(item)) or f"\x00{number}"] = item
    return ListNode(tuple(found.values()), over.place)


def _listed(node: Node) -> Node:
    return node if isinstance(node, ListNode) else ListNode((node,), node.place)


_DEEPER = (("deploy",), ("healthcheck",), ("deploy", "placement"))


def _rule(path: tuple[str, ...]) -> str:
    """The key whose special rule applies at `path`; empty for names that users choose."""
    if len(path) == 3 and (path[0] == "services" or path[2] == "labels"):
        return path[2]
    if path[:1] == ("services",) and path[2:-1] in _DEEPER:
        return path[-1]
    return ""


def _alike(rule: str, base: Node, over: Node) -> tuple[Node, Node]:
    """Both in one form where a key has several."""
    if rule == "depends_on":
        return _dependencies(base), _dependencies(over)
    if rule in _PAIRS or rule in _NAMES:
        return _as_map(rule, base), _as_map(rule, over)
    if rule in _SINGLE:
        return _listed(base), _listed(over)
    return base, over


def merge(base: Node, over: Node, path: tuple[str, ...] = ()) -> Node:
    """`over`, from a later file, laid over `base`; both stand at `path`."""
    if isinstance(over, Scalar) and over.null and path[-2:-1] != ("environment",):
        return base
    rule = _rule(path)
    if rule in _REPLACED:
        return over
    base, over = _alike(rule, base, over)
    if isinstance(base, MapNode) and isinstance(over, MapNode):
        entries = dict(base.entries)
        for name, entry in over.entries.items():
            old = entries.get(name)
            value = merge(old.value, entry.value, (*path, name)) if old else entry.value
            entries[name] = Entry(entry.key_place, value)
        return MapNode(entries, base.place)
    if isinstance(base, ListNode) and isinstance(over, ListNode):
        return _lists(rule, base, over)
    return over
