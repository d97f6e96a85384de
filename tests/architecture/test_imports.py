"""The layers: who may import whom. The contracts are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT

RUN = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

BREACH = """
[tool.importlinter]
root_package = "stackd"
[[tool.importlinter.contracts]]
name = "Upside down"
type = "layers"
containers = ["stackd"]
layers = ["errors", "store"]
"""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check stackd against the contracts in a folder's pyproject.toml, in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_every_import_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.timeout(300)
def test_a_broken_contract_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(BREACH)
    done = lint(tmp_path)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
