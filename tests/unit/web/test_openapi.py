"""The OpenAPI document: whole, sound, and of this very API."""

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from stackd.web.openapi import PROBLEMS, document
from stackd.web.operations import OPERATIONS

WHOLE = json.loads(json.dumps(document()))
VERBS = {"get", "put", "post", "delete", "patch"}
SHAPE = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components", "security"],
    "additionalProperties": False,
    "properties": {
        "openapi": {"const": "3.1.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "security": {"type": "array", "items": {"type": "object"}},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": sorted(VERBS)},
                "additionalProperties": {"$ref": "#/$defs/operation"},
            },
        },
        "components": {
            "type": "object",
            "properties": {
                "schemas": {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9._-]+$"}},
                "securitySchemes": {"type": "object"},
            },
            "additionalProperties": False,
        },
    },
    "$defs": {
        "operation": {
            "type": "object",
            "required": ["operationId", "summary", "parameters", "responses"],
            "additionalProperties": False,
            "properties": {
                "operationId": {"type": "string", "pattern": "^[a-z][A-Za-z]+$"},
                "summary": {"type": "string", "pattern": r"\.$"},
                "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                "requestBody": {
                    "type": "object",
                    "required": ["content"],
                    "properties": {
                        "required": {"type": "boolean"},
                        "content": {"$ref": "#/$defs/content"},
                    },
                    "additionalProperties": False,
                },
                "responses": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[1-5][0-9]{2}$"},
                    "additionalProperties": {
                        "type": "object",
                        "required": ["description"],
                        "properties": {
                            "description": {"type": "string"},
                            "headers": {"type": "object"},
                            "content": {"$ref": "#/$defs/content"},
                        },
                        "additionalProperties": False,
                    },
                },
            },
        },
        "parameter": {
            "type": "object",
            "required": ["name", "in", "schema"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "in": {"enum": ["path", "query"]},
                "required": {"type": "boolean"},
                "schema": {"type": "object"},
            },
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"properties": {"required": {"const": True}}, "required": ["required"]},
        },
        "content": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z]+/[a-z+]+$"},
            "additionalProperties": {"type": "object", "required": ["schema"]},
        },
    },
}
"""What OpenAPI 3.1 asks of the parts that are used here."""


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, verbs in WHOLE["paths"].items():
        for found in verbs.values():
            yield path, found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_it_has_the_shape_of_openapi() -> None:
    Draft202012Validator.check_schema(SHAPE)
    assert [e.message for e in Draft202012Validator(SHAPE).iter_errors(WHOLE)] == []


def test_every_schema_is_a_schema_and_every_reference_leads_to_one() -> None:
    schemas = WHOLE["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    for _, operation in operations():
        for parameter in operation["parameters"]:
            Draft202012Validator.check_schema(parameter["schema"])
    assert set(references(WHOLE)) == {f"#/components/schemas/{name}" for name in schemas}


def test_paths_and_their_parameters_belong_together() -> None:
    ids = []
    for path, operation in operations():
        ids.append(operation["operationId"])
        inside = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
        assert inside == re.findall(r"\{(\w+)\}", path)
        names = [p["name"] for p in operation["parameters"]]
        assert len(names) == len(set(names))
    assert sorted(ids) == sorted(operation.name for operation in OPERATIONS)


def test_each_operation_asks_for_a_token_and_names_every_failure() -> None:
    assert WHOLE["security"] == [{"token": []}]
    scheme = WHOLE["components"]["securitySchemes"]["token"]
    assert scheme == {"type": "http", "scheme": "bearer"}
    for _, operation in operations():
        assert operation["responses"].keys() == {"200", *map(str, PROBLEMS)}


def test_the_names_of_things_come_from_the_path_alone() -> None:
    for _, operation in operations():
        assert "name" not in [p["name"] for p in operation["parameters"]]
    for name, schema in WHOLE["components"]["schemas"].items():
        if name.endswith("Body"):
            assert "name" not in schema["properties"]
            assert schema["additionalProperties"] is False
