"""Core decides and does nothing else: what imports do not show, its syntax must."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import STACKD, modules, name, tree

CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"}
CLOCKS = {"now", "utcnow", "today"}


def impurities(module: ast.Module) -> list[str]:
    """`line: what` for everything in a module that no pure code has."""
    found = []
    for node in ast.walk(module):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.append(f"{node.lineno}: async")
            case ast.Global() | ast.Nonlocal():
                found.append(f"{node.lineno}: {' '.join(node.names)} is changed from outside")
            case ast.Call(func=ast.Name(id=called)) if called in CALLS:
                found.append(f"{node.lineno}: {called}()")
            case ast.Call(func=ast.Attribute(value=owner, attr=called)) if called in CLOCKS:
                if ast.unparse(owner).rpartition(".")[2] in ("datetime", "date"):
                    found.append(f"{node.lineno}: {ast.unparse(node.func)}()")
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                found.append(f"{node.lineno}: an import only for types")
    return found


@pytest.mark.parametrize("path", modules(STACKD / "core"), ids=name)
def test_core_is_pure(path: Path) -> None:
    assert impurities(tree(path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "async def f(): ...",
        "def f():\n  global x\n  x = 1",
        "text = open('f').read()",
        "print('x')",
        "t = datetime.datetime.now()",
        "d = date.today()",
        "if TYPE_CHECKING:\n  import os",
    ],
)
def test_an_impurity_would_be_noticed(source: str) -> None:
    assert impurities(ast.parse(source)) != []


LOADERS = ("__main__.py", "app.py")
"""These load what they are asked to be: a process; a verb's file, of the uppermost layer too."""


@pytest.mark.parametrize("path", [p for p in modules() if p.name not in LOADERS], ids=name)
def test_no_import_is_hidden_from_the_layers(path: Path) -> None:
    hidden = [
        node.lineno
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING")
        or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"))
    ]
    assert hidden == []
