import re
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from stackd.core.spec import schema
from stackd.core.spec.nodes import ListNode, MapNode, Node, to_data
from stackd.core.spec.problems import Report
from stackd.core.spec.reader import Budget, read
from stackd.core.spec.stack import StackSection
from tests.unit.core.spec.corpus import ACCEPTED, REFUSED, TOPS_ACCEPTED, TOPS_REFUSED


def typed(node: Node) -> Any:
    """The tree as an editor sees it: plain scalars typed by YAML 1.2's core schema."""
    if isinstance(node, MapNode):
        return {key: typed(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, ListNode):
        return [typed(item) for item in node.items]
    if node.null:
        return None
    if not node.plain:
        return node.text
    if re.fullmatch("true|True|TRUE|false|False|FALSE", node.text):
        return node.text.lower() == "true"
    if re.fullmatch("[-+]?[0-9]+", node.text):
        return int(node.text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", node.text):
        return float(node.text)
    return node.text


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def tree(text: str) -> MapNode:
    report = Report()
    return read("f", text.encode(), Budget(report), report)


def keys(text: str) -> str:
    image = "" if text.startswith("image:") else "    image: demo:1\n"
    return "services:\n  web:\n" + image + "".join(f"    {line}\n" for line in text.splitlines())


def models_accept(node: Node) -> bool:
    try:
        StackSection.model_validate(to_data(node))
    except ValidationError:
        return False
    return True


TOP = "\nservices: {web: {image: a}}"
GOOD = [*map(keys, ACCEPTED), *(top + TOP for top in TOPS_ACCEPTED)]
BAD = [
    *map(keys, REFUSED),
    *(top + TOP for top in TOPS_REFUSED),
    "services: {}",
    "services: {web: {}}",
    "services: {web: }",
    "services: {a.b: {image: x}}",
    "name: a",
]


@pytest.mark.parametrize("text", GOOD)
def test_both_accept(text: str, validator: jsonschema.Draft202012Validator) -> None:
    assert models_accept(tree(text))
    assert [e.message for e in validator.iter_errors(typed(tree(text)))] == []


@pytest.mark.parametrize("text", BAD)
def test_both_refuse(text: str, validator: jsonschema.Draft202012Validator) -> None:
    assert not models_accept(tree(text))
    assert not validator.is_valid(typed(tree(text)))


def test_the_schema_accepts_what_is_still_to_be_interpolated(
    validator: jsonschema.Draft202012Validator,
) -> None:
    text = keys("image: a:$TAG\ninit: $I\nports: ['$P:80']\ndeploy: {replicas: $N, mode: $M}")
    assert validator.is_valid(typed(tree(text)))


def test_every_section_is_closed_to_unknown_keys() -> None:
    for name, part in schema()["$defs"].items():
        if "properties" in part:
            assert part["additionalProperties"] is False, name
