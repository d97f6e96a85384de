"""Node tree -> typed sections, with every fault as a problem at its place.

pydantic finds the faults; here they get a place and words. Called by `loading`.
"""

import difflib
import types
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stackd.core.spec.fields import Section
from stackd.core.spec.nodes import (
    Entry,
    MapNode,
    Node,
    Path,
    Scalar,
    key_place_of,
    place_of,
    replaced,
    to_data,
    without,
)
from stackd.core.spec.problems import Report, dotted
from stackd.core.spec.stack import StackSection

_SHAPES = {
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be a single value",
    "too_long": "has too many items",
    "too_short": "must not be empty",
}


def _plain(annotation: Any) -> Any:
    """A type without Annotated and without None."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
        else:
            return annotation


def section_at(path: Path, top: type[Section] = StackSection) -> type[Section] | None:
    """The section that the value at `path` of a stack file is, if it is one; or of a file that is
    itself the section `top`."""
    annotation: Any = top
    for part in path:
        annotation = _plain(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Section):
            names = {field.alias or name: field for name, field in annotation.model_fields.items()}
            if part not in names:
                return None
            annotation = names[str(part)].annotation
        else:
            arguments = get_args(annotation)
            if not arguments:
                return None
            annotation = arguments[-1]
    found = _plain(annotation)
    return found if isinstance(found, type) and issubclass(found, Section) else None


def _unknown(section: type[Section] | None, key: str) -> tuple[str, bool]:
    """What is wrong with a key that a section does not have, and whether `--lenient` excuses it."""
    if section is None:
        return f"unknown key {key}", False
    if key in section.PLANNED:
        return f"{key} is not supported yet", True
    if key in section.FOREIGN:
        hint = section.FOREIGN[key]
        return f"{key} is not supported by stackd" + (f": {hint}" if hint else ""), True
    names = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(key[:64], names, n=1, cutoff=0.7)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"unknown key {key[:64]}{hint}", False


def _words(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "missing":
        return f"{error['loc'][-1]} is missing"
    return _SHAPES.get(kind, error["msg"])


def _note_ignored(root: Node, path: Path, report: Report) -> None:
    """Warn of keys that are accepted and ignored."""
    section = section_at(path)
    if not isinstance(root, MapNode) or section is None:
        return
    for key, why in section.NOTED.items():
        if entry := root.entries.get(key):
            report.warning(entry.key_place, f"{key} is ignored: {why}", dotted((*path, key)))


@dataclass
class _Found:
    """What one validation found besides problems."""

    excused: list[Path]
    """Keys that `--lenient` leaves out."""
    faulty: list[Path]
    """Where real faults are."""


def report_faults(root: Node, error: ValidationError, top: type[Section], report: Report) -> None:
    """Turn the faults of a file that is one section into problems."""
    _report(root, error, False, report, top)


def _report(
    root: Node,
    error: ValidationError,
    lenient: bool,
    report: Report,
    top: type[Section] = StackSection,
) -> _Found:
    """Turn pydantic's errors into problems."""
    found = _Found([], [])
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = item["loc"]
        if item["type"] == "extra_forbidden":
            text, harmless = _unknown(section_at(path[:-1], top), str(path[-1]))
            place = key_place_of(root, path)
            if harmless and lenient:
                report.warning(place, f"{text}; it is left out", dotted(path))
                found.excused.append(path)
                continue
        elif path and path[-1] == "[key]":
            path = path[:-1]
            place, text = key_place_of(root, path), _words(item)
        else:
            place, text = place_of(root, path), _words(item)
        report.error(place, text, dotted(path))
        found.faulty.append(path)
    return found


def _pruned(root: Node, faulty: list[Path]) -> Node:
    """The tree without the objects that have faults, their names kept where others need them."""
    for path in faulty:
        place = place_of(root, path)
        empty = Scalar("", place, plain=True)
        external = MapNode({"external": Entry(place, Scalar("true", place))}, place)
        head = [str(part) for part in path[:2]]
        if path[:1] == ("services",) and len(path) > 2 and path[2] != "image":
            # A route and a strategy are judged by the ports: without the ones, not the others.
            judged = (("ports",), ("route",), ("deploy", "strategy"))
            for keys in judged if path[2] == "ports" else ((str(path[2]),),):
                root = without(root, (*head, *keys))
        elif len(head) < 2 or head[0] == "services":
            root = without(root, head)
        elif head[0] in ("configs", "secrets"):
            root = replaced(root, head, external)
        else:
            root = replaced(root, head, empty)
    return root


def validate(root: Node, lenient: bool, report: Report) -> StackSection | None:
    """The sections of a stack file, with the reasons in the report where some had to be left out.

    None when nothing is left that could be checked further.
    """
    _note_ignored(root, (), report)
    services = root.get("services") if isinstance(root, MapNode) else None
    if isinstance(services, MapNode):
        for name, entry in services.entries.items():
            _note_ignored(entry.value, ("services", name), report)
    tree, scratch = root, report
    for _ in range(3):
        try:
            return StackSection.model_validate(to_data(tree))
        except ValidationError as error:
            found = _report(tree, error, lenient, scratch)
            for path in found.excused:
                tree = without(tree, path)
            tree = _pruned(tree, found.faulty)
            # What is missing from now on is missing because it was taken away here.
            scratch = Report() if found.faulty else report
    return None
