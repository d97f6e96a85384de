"""The JSON schema of a stack file, made from the models; `schemas/stack.schema.json` is its copy.

Editors use it. It sees the file before interpolation, so a text with a `$` passes nearly
everywhere; what concerns several keys at once is checked by `loading` only.
"""

from typing import Any

from stackd.core.spec.stack import StackSection


def _without_titles(value: Any, names: bool = False) -> Any:
    """Drop generated titles and defaults; `names` is true where keys are names of properties."""
    if isinstance(value, list):
        return [_without_titles(item) for item in value]
    if not isinstance(value, dict):
        return value
    dropped = frozenset() if names else frozenset({"title", "default"})
    return {
        key: _without_titles(item, key in ("properties", "$defs") and not names)
        for key, item in value.items()
        if key not in dropped
    }


def schema() -> dict[str, Any]:
    """The schema as a document."""
    found: dict[str, Any] = _without_titles(StackSection.model_json_schema())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "stackd stack file"}
    return {**head, **found}
