"""The committed schema and the annotated examples are what the models say."""

from pathlib import Path

import pytest

from stackd.core.spec import Context, Origin, SourceFile, is_stack_file, load, wanted_files
from tests.tools import write_schema

EXAMPLES = Path(__file__).parents[2] / "examples" / "stacks"
FILES = sorted(path.name for path in EXAMPLES.glob("*.yml"))


def test_the_committed_schema_is_current() -> None:
    assert write_schema.TARGET.read_text() == write_schema.rendered(), "run `make schema`"


@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize("name", FILES)
def test_every_example_loads(name: str, origin: Origin) -> None:
    assert is_stack_file(name)
    source = SourceFile(name, (EXAMPLES / name).read_bytes())
    wanted = wanted_files([source], Context(origin))
    found = {path: (EXAMPLES / path).read_bytes() for path in wanted if (EXAMPLES / path).is_file()}
    loaded = load([source], Context(origin, files=found))
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.bundle is not None
    assert loaded.bundle.spec.name == name.removesuffix(".stack.yml")


def test_examples_are_there_and_name_the_schema() -> None:
    assert len(FILES) >= 18
    for name in FILES:
        assert (EXAMPLES / name).read_text().startswith("# yaml-language-server: $schema=../../")
