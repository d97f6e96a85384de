"""Differences between two specs field by field, as paths that read like the stack file."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stackd.core.model.record import Value
from stackd.core.model.strategy import Analyse, Pause, SetMatch, SetMirror, SetScale, SetWeight
from stackd.core.plan.changes import FieldChange


def differences(before: Value | None, after: Value | None) -> tuple[FieldChange, ...]:
    """Every leaf that differs, in the order of its path. None counts as empty."""
    found: list[FieldChange] = []
    _walk("", _plain(before), _plain(after), found)
    return tuple(sorted(found))


def _plain(value: Any) -> Any:
    """Defaults are spelled out: a change back to a default must show its value."""
    match value:
        case None:
            return {}
        case msgspec.Struct():
            return {name: _inner(getattr(value, name)) for name in value.__struct_fields__}
        case _:
            return _inner(value)


def _inner(value: Any) -> Any:
    match value:
        case Analyse():
            return {"analysis": _plain(value.policy)}
        case SetWeight() | Pause() | SetScale() | SetMatch() | SetMirror():
            return value.words
        case msgspec.Struct():
            return _plain(value)
        case Mapping():
            return {str(key): _inner(item) for key, item in value.items()}
        case tuple() | list():
            return [_inner(item) for item in value]
        case _:
            return value


def _walk(path: str, before: Any, after: Any, found: list[FieldChange]) -> None:
    if before == after:
        return
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        left = before if isinstance(before, Mapping) else {}
        right = after if isinstance(after, Mapping) else {}
        for key in sorted({*left, *right}):
            _walk(f"{path}.{key}" if path else str(key), left.get(key), right.get(key), found)
        return
    found.append(FieldChange(path=path, before=_text(before), after=_text(after)))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "[" + ", ".join(_text(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    return str(value)
