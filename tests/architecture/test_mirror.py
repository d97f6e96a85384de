"""Unit tests stand where the code stands, and test modules hold tests."""

import ast
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, functions, name, tree

TESTS = ROOT / "tests"
UNIT = sorted((TESTS / "unit").rglob("test_*.py"))
ALL = sorted(TESTS.rglob("test_*.py"))
FEWEST = 1050
"""Test functions in the whole suite: fewer mean that a part of it was lost."""


def code_of(test: Path) -> list[Path]:
    """What a unit test is about: a module, or a whole package."""
    place = test.relative_to(TESTS / "unit")
    stem = place.stem.removeprefix("test_")
    base = ROOT / "stackd" / place.parent
    return [base / f"{stem}.py", base / f"{stem}_.py", base / stem / "__init__.py"]


@pytest.mark.parametrize("path", UNIT, ids=name)
def test_a_unit_test_mirrors_a_module(path: Path) -> None:
    assert any(code.exists() for code in code_of(path)), f"no {name(code_of(path)[0])}"


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_test_module_has_tests_and_none_of_them_is_empty(path: Path) -> None:
    tests = [found for found in functions(path) if found.name.startswith("test_")]
    assert tests
    empty = [
        found.name
        for found in tests
        if all(isinstance(part, ast.Pass | ast.Expr) and not _does(part) for part in found.body)
    ]
    assert empty == []


def _does(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and not isinstance(part.value, ast.Constant)


@pytest.mark.parametrize("path", ALL, ids=name)
def test_nothing_is_skipped_or_patched(path: Path) -> None:
    words = {"skip", "skipif", "xfail", "monkeypatch", "mock", "MagicMock"}
    found = [
        f"{node.lineno}: {word}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.expr | ast.arg | ast.alias) and (word := _word(node)) in words
    ]
    assert found == []


def _word(node: ast.AST) -> str:
    match node:
        case ast.Attribute(attr=word) | ast.arg(arg=word) | ast.alias(name=word):
            return word
    return ""


def test_every_folder_of_tests_is_run_by_make_test() -> None:
    run = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    folders = {path.relative_to(ROOT).parts[1] for path in ALL}
    assert {f"tests/{folder}" for folder in folders} == set(run["testpaths"])


def test_the_suite_has_not_shrunk() -> None:
    count = sum(1 for path in ALL for found in functions(path) if found.name.startswith("test_"))
    assert count >= FEWEST
