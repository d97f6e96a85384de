"""What the guide to rollouts shows can be used as it stands: each strategy has its part, a picture
and a stack file that `tests/e2e/test_examples.py` deploys, and every piece of YAML is sound."""

import re
from collections.abc import Iterator
from textwrap import dedent, indent

import pytest

from stackd.core.model.strategy import StrategyKind
from stackd.core.spec import Context, Origin, SourceFile, load
from stackd.core.spec.policyfile import load_policy
from tests.architecture.sources import ROOT

DOCS = ROOT / "docs"
GUIDE = (DOCS / "rollouts.md").read_text()
TITLES = {
    StrategyKind.AB: "A/B",
    StrategyKind.STAGED: "A share that grows by steps",
}
"""Parts that are not called as their strategy is."""
AROUND = {
    "services": "",
    "strategy": 'services:\n  web:\n    image: "x:1"\n    ports: [PORT]\n    deploy:\n      ',
    "features": 'services:\n  web:\n    image: "x:1"\n    ports: [PORT]\n    ',
}
"""What stands before a piece that begins with this key."""
PORT = "{target: 8080, published: 80, app_protocol: http}"


def pieces() -> Iterator[tuple[str, str]]:
    """Every piece of YAML in the docs, without its indent, with the page it is on."""
    for page in sorted(DOCS.glob("*.md")):
        for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            yield page.name, dedent(text)


def problems(text: str) -> list[str]:
    """What is wrong with a piece, put where it belongs."""
    key = text.partition(":")[0]
    if key == "analysis":
        return [str(problem) for problem in load_policy(SourceFile("policy.yml", text.encode()))[1]]
    before = AROUND[key].replace("PORT", PORT)
    room = len(before.rpartition("\n")[2])
    whole = "name: doc\n" + before + indent(text, " " * room).lstrip()
    loaded = load([SourceFile("doc.stack.yml", whole.encode())], Context(Origin.CLI))
    return [str(problem) for problem in loaded.problems]


@pytest.mark.parametrize(("page", "text"), [*pieces()])
def test_every_piece_of_yaml_is_sound(page: str, text: str) -> None:
    assert problems(text) == [], page


def test_a_faulty_piece_is_found() -> None:
    faulty = "strategy:\n  type: canary\n  steps: [{set_weight: 5%}, {set_weight: 1%}]\n"
    assert len(problems(faulty)) == 1


def part(kind: StrategyKind) -> str:
    """What the guide has below the strategy's title."""
    title = TITLES.get(kind, kind.value.capitalize())
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", GUIDE, re.DOTALL | re.MULTILINE
    )
    assert found is not None, f"no part is called {title}"
    return found[2]


@pytest.mark.parametrize("kind", StrategyKind)
def test_each_strategy_has_its_part_a_picture_and_when_to_use_it(kind: StrategyKind) -> None:
    pictures = re.findall(r"^```\n(.*?)^```", part(kind), re.DOTALL | re.MULTILINE)
    assert any("─" in picture or "█" in picture for picture in pictures)
    head, *rows = re.findall(r"^\|(.*)\|$", GUIDE.partition("\n## ")[0], re.MULTILINE)
    assert head.split("|")[-1].strip() == "Use it when"
    [row] = [row for row in rows if f"`{kind.value}`" in row.split("|")[0]]
    assert row.split("|")[-1].strip()


@pytest.mark.parametrize("kind", StrategyKind)
def test_each_strategy_has_a_stack_file_that_a_test_deploys(kind: StrategyKind) -> None:
    name = "staged-feature" if kind is StrategyKind.STAGED else kind.value
    assert f"(../examples/stacks/{name}.stack.yml)" in GUIDE
    file = ROOT / "examples" / "stacks" / f"{name}.stack.yml"
    loaded = load([SourceFile(file.name, file.read_bytes())], Context(Origin.CLI))
    assert loaded.bundle is not None
    services = loaded.bundle.spec.services.values()
    kinds = {s.strategy.kind for s in services}
    assert kind in kinds.union(*({t.kind for t in s.stages.values()} for s in services))
    tests = (ROOT / "tests" / "e2e" / "test_examples.py").read_text()
    assert f"def test_{name.replace('-', '_')}(" in tests
