"""A stack as canonical text, for `diff` and for `validate` to show, and its hash.

Defaults are left out, keys are sorted; the values of secrets are not part of a spec, so they
cannot be in the text.
"""

import hashlib
from collections.abc import Mapping

import msgspec
import yaml

from stackd.core.model.stack import StackSpec


def render(spec: StackSpec) -> str:
    """The declared stack as YAML; equal stacks give equal text."""
    text: str = yaml.dump(
        msgspec.to_builtins(spec, order="sorted"),
        Dumper=yaml.CSafeDumper,
        sort_keys=True,
        allow_unicode=True,
        width=1000,
    )
    return text


def content_hash(spec: StackSpec, versions: Mapping[str, str]) -> str:
    """SHA-256 in hex over a stack and the versions of its contents (`config/NAME`: version id).

    Equal hashes declare the same. Contents enter by version id only, which for secrets is keyed:
    a hash of the value itself could be guessed.
    """
    form = (msgspec.to_builtins(spec, order="sorted"), dict(versions))
    return hashlib.sha256(msgspec.json.encode(form, order="sorted")).hexdigest()
