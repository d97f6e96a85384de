"""The OpenAPI 3.1 document of the JSON API, made from the table of operations and the types."""

from typing import Any

import msgspec

from stackd import __version__
from stackd.core.model.api import Answer
from stackd.web.operations import OPERATIONS, Operation, Take

_REFS = "#/components/schemas/{name}"


class Problem(Answer, frozen=True, kw_only=True):
    """Why a request was not done (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    """The cause, in a sentence."""
    remedy: str
    """What to do, in a sentence; may be empty."""
    problems: tuple[str, ...] = ()
    """Of stack files: each with its place."""


PROBLEMS = {
    400: "The request is not as documented.",
    401: "There is no token, or it is unknown or has expired.",
    403: "The token does not allow this.",
    404: "What is named does not exist.",
    409: "It cannot be done as things are.",
    413: "The body is too large.",
    422: "The stack files have problems.",
    500: "The manager failed.",
    503: "The manager cannot answer now; see Retry-After.",
}
"""Status -> its title."""


def document() -> dict[str, Any]:
    """The whole document."""
    answers = [operation.answer for operation in OPERATIONS]
    bodies = [operation.parameters for operation in OPERATIONS if _has_body(operation)]
    types = [*answers, *bodies, Problem]
    _, components = msgspec.json.schema_components(types, ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.verb.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stackd",
            "version": __version__,
            "description": "Deploys stacks and steers their rollouts. Tokens: stackd token create.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _has_body(operation: Operation) -> bool:
    return operation.verb == "POST" and bool(operation.fields)


def _schema(kind: Any) -> dict[str, Any]:
    [found], _ = msgspec.json.schema_components([kind], ref_template=_REFS)
    return dict(found)


def _described(operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in operation.placed
    ]
    known = msgspec.structs.fields(operation.parameters)
    if operation.verb == "GET":
        for field in known:
            schema = _schema(field.type)
            if field.default is not msgspec.NODEFAULT:
                schema["default"] = field.default
            parameters.append(
                {"name": field.name, "in": "query", "required": field.required, "schema": schema}
            )
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(operation),
    }
    if _has_body(operation):
        content = {"application/json": {"schema": _schema(operation.parameters)}}
        required = any(field.required for field in known)
        found["requestBody"] = {"required": required, "content": content}
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": "Done.",
        "content": {"application/json": {"schema": _schema(operation.answer)}},
    }
    if operation.take is Take.LAST:
        code = {"schema": {"type": "integer"}, "description": "The exit code."}
        answer["headers"] = {"Stackd-Code": code}
    problem = {"application/problem+json": {"schema": _schema(Problem)}}
    failures = {
        str(status): {"description": title, "content": problem}
        for status, title in PROBLEMS.items()
    }
    return {"200": answer, **failures}
