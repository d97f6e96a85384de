"""OpenFeature remote evaluation (OFREP): a request of a task -> the answer, without any I/O.

Called by `agent.toggles` with who asks. A task is told of the toggles of its own service.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import msgspec

from stackd.core.model.toggle import Toggle
from stackd.core.traffic import reach

ROOT = "/ofrep/v1/"
_FLAGS = ROOT + "evaluate/flags"
_CONFIGURATION = ROOT + "configuration"
POLL = 5_000
"""Milliseconds: providers that keep answers ask for them again no sooner."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: method, path without query, body, and the `If-None-Match` it came with."""

    method: str
    path: str
    body: bytes = b""
    known: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer; `body` is JSON, or empty for 304."""

    status: int
    body: bytes = b""
    tag: str = ""
    """The `ETag`."""
    about: tuple[str, ...] = ()
    """The toggles it is about."""


@dataclass(frozen=True, slots=True)
class Toggles:
    """What one service declares, as it acts now."""

    stack: str
    service: str
    features: Mapping[str, Toggle] = field(default_factory=dict)


def answer(asked: Asked, toggles: Toggles | None) -> Told:
    """`toggles`: those of the service that asks; None when nobody known does."""
    if toggles is None:
        return _said(403, {"errorDetails": "only tasks of this node are answered"})
    if asked.path == _CONFIGURATION and asked.method == "GET":
        return _said(200, _configuration())
    path = asked.path.rstrip("/")
    single = path.startswith(_FLAGS + "/")
    if not single and path != _FLAGS:
        return _said(404, {"errorDetails": f"there is nothing at {asked.path[:200]}"})
    if asked.method != "POST":
        return _said(405, {"errorDetails": "write POST"})
    context = _context(asked.body)
    if single:
        return _one(unquote(path.removeprefix(_FLAGS + "/")), context, toggles)
    return _all(asked.known, context, toggles)


def _context(body: bytes) -> Mapping[str, Any] | str:
    """The evaluation context; a text says why there is none."""
    try:
        document = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, RecursionError):
        return "the body is not JSON"
    context = document.get("context", {}) if isinstance(document, dict) else None
    if context is None and isinstance(document, dict):
        return {}
    return context if isinstance(context, dict) else "context must be an object"


def _one(key: str, context: Mapping[str, Any] | str, toggles: Toggles) -> Told:
    if isinstance(context, str):
        return _said(400, _error(key, "INVALID_CONTEXT", context))
    if key not in toggles.features:
        place = f"{toggles.stack}/{toggles.service}"
        return _said(404, _error(key, "FLAG_NOT_FOUND", f"{place} declares no such feature"))
    found = _evaluated(key, context, toggles)
    return replace(_said(400 if "errorCode" in found else 200, found), about=(key,))


def _all(known: str, context: Mapping[str, Any] | str, toggles: Toggles) -> Told:
    if isinstance(context, str):
        return _said(400, {"errorCode": "INVALID_CONTEXT", "errorDetails": context})
    body = msgspec.json.encode(
        {"flags": [_evaluated(key, context, toggles) for key in sorted(toggles.features)]}
    )
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if tag in (part.strip().removeprefix("W/") for part in known.split(",")):
        return Told(304, tag=tag, about=(*toggles.features,))
    return Told(200, body, tag, (*toggles.features,))


def _evaluated(key: str, context: Mapping[str, Any], toggles: Toggles) -> dict[str, Any]:
    try:
        found = reach.evaluate(toggles.stack, key, toggles.features[key], context)
    except reach.KeyMissing:
        return _error(key, "TARGETING_KEY_MISSING", "it reaches a share: say a targetingKey")
    return {
        "key": key,
        "reason": found.reason,
        "variant": found.variant,
        "value": found.value,
        "metadata": {"service": f"{toggles.stack}/{toggles.service}"},
    }


def _error(key: str, code: str, details: str) -> dict[str, Any]:
    return {"key": key, "errorCode": code, "errorDetails": details}


def _configuration() -> dict[str, Any]:
    polling = {"enabled": True, "minPollingIntervalMs": POLL}
    types = ["boolean", "string", "int", "float"]
    return {
        "name": "stackd",
        "capabilities": {
            "cacheInvalidation": {"polling": polling},
            "flagEvaluation": {"supportedTypes": types},
        },
    }


def _said(status: int, document: dict[str, Any]) -> Told:
    return Told(status, msgspec.json.encode(document))
