"""The sources under check, read once, for the tests beside this file."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STACKD = ROOT / "stackd"
GENERATED = STACKD / "wire" / "gen"


def modules(under: Path = STACKD) -> list[Path]:
    """Every hand-written module below a folder, in order."""
    return sorted(path for path in under.rglob("*.py") if GENERATED not in path.parents)


def name(path: Path) -> str:
    """A path as tests show it."""
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    """A module's syntax."""
    return ast.parse(path.read_text(), filename=str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
