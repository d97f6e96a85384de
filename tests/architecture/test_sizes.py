"""Sizes beyond which code is no longer read as a whole, and the docstrings that say why."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import functions, modules, name, tree

MODULE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 7
"""Without self and cls; the rest is grouped in a frozen dataclass."""

CLI = "stackd/cli/"
"""A command's parameters are its options: typer reads them from the signature."""


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a function has."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    extra = [found for found in (arguments.vararg, arguments.kwarg) if found is not None]
    return len([a for a in [*named, *extra] if a.arg not in ("self", "cls")])


@pytest.mark.parametrize("path", modules(), ids=name)
def test_modules_are_short_and_say_why_they_exist(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES
    assert ast.get_docstring(tree(path)), "a module docstring says why it exists and who calls it"


@pytest.mark.parametrize("path", modules(), ids=name)
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    long = [
        f"{found.lineno}: {found.name} has {lines} lines"
        for found in functions(path)
        if (lines := (found.end_lineno or found.lineno) - found.lineno + 1) > FUNCTION_LINES
    ]
    broad = [
        f"{found.lineno}: {found.name} takes {parameters(found)} parameters"
        for found in functions(path)
        if parameters(found) > PARAMETERS and not name(path).startswith(CLI)
    ]
    assert long + broad == []


@pytest.mark.parametrize("path", [p for p in modules() if p.name == "__init__.py"], ids=name)
def test_packages_hold_a_docstring_and_names_of_others(path: Path) -> None:
    plain = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    odd = [node.lineno for node in tree(path).body if not isinstance(node, plain)]
    assert odd == []


def test_no_package_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc"}
    assert [name(p) for p in modules() if drawers & {p.stem, p.parent.name}] == []
