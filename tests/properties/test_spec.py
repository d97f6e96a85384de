"""Whatever stands in a stack file: a bundle or problems with places, never an exception."""

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stackd.core.model.stack import StackSpec
from stackd.core.spec import Context, Loaded, Origin, SourceFile, load, render, wanted_files
from stackd.core.spec.service import ServiceSection
from tests.unit.core.spec.corpus import ACCEPTED, REFUSED

CHEAP = settings(max_examples=2 * settings().max_examples)
FRAGMENTS = st.sampled_from(
    ["services:", "\n", "  ", "web:", "image: x", "- ", "{", "}", "[", "]", ":", ",", "&a ", "*a",
     "<<: ", "? ", "!!str ", "'", '"', "|\n", "${V:-", "}", "$", "#", "---", "\t", "x-a", "null",
     "ports", "80:80", "deploy", "\u00e9", "\\"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(ServiceSection.model_fields)) | st.text(max_size=8)


def judge(data: bytes) -> Loaded:
    for origin in Origin:
        context = Context(origin, {"V": "v"}, {".env": data, "x": data})
        source = [SourceFile("shop.stack.yml", data)]
        found = load(source, context)
        assert (found.bundle is None) == bool(found.errors)
        for problem in found.problems:
            assert problem.text
            assert problem.line >= 0
        wanted_files([*source, *source], context)
        load([*source, *source], context)
    return found


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    judge(data)


@given(st.lists(FRAGMENTS, max_size=40).map("".join))
@CHEAP
def test_any_text_that_looks_like_yaml(text: str) -> None:
    judge(text.encode())


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=2))
@CHEAP
def test_any_values_under_any_keys(service: object, top: dict[str, object]) -> None:
    document = {"services": {"web": service}, **top}
    judge(yaml.safe_dump(document, allow_unicode=True).encode())


@given(
    st.lists(st.sampled_from(ACCEPTED), max_size=6), st.lists(st.sampled_from(REFUSED), max_size=1)
)
def test_combinations_of_known_keys(good: list[str], bad: list[str]) -> None:
    keys = {line.split(":")[0]: line for line in [*bad, *good]}
    body = "\n".join("    " + text.replace("\n", "\n    ") for text in keys.values())
    image = "" if "image" in keys else "    image: x\n"
    found = judge(f"services:\n  web:\n{image}{body}\n".encode())
    if found.bundle is not None:
        spec = found.bundle.spec
        again = msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=StackSpec)
        assert again == spec
        assert render(again) == render(spec)


@given(st.text(st.sampled_from("$${}VU:-?x "), max_size=30))
@CHEAP
def test_any_reference(text: str) -> None:
    judge(yaml.safe_dump({"services": {"web": {"image": "x", "user": text}}}).encode())
