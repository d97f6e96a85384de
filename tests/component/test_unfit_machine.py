"""`up` and `doctor` where they cannot work: as another user than root, with programs missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stackd.host.preflight import PROGRAMS

pytestmark = pytest.mark.host
NOBODY = 65534
ROOT = Path(__file__).parents[2]
RUN = """
import contextlib, io, os, sys
from stackd.cli import app
user = int(sys.argv.pop(1))
if user:  # after all is loaded: others may not be able to read this Python
    for words in (["ps"], ["up", "--help"], ["down"], ["status"]):
        quiet = io.StringIO()
        with contextlib.suppress(SystemExit), contextlib.redirect_stderr(quiet):
            with contextlib.redirect_stdout(quiet):
                app.main(["--data", "/nonexistent", *words])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
sys.exit(app.main(sys.argv[1:]))
"""


def stackd(
    folder: Path, *words: str, path: str = os.environ["PATH"], user: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with this PATH and as this user."""
    argv = [sys.executable, "-c", RUN, str(user), "--data", str(folder), *words]
    environment = {**os.environ, "PATH": path}
    ran = subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in ran.stderr
    return ran


def test_up_says_that_root_is_needed_and_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    ran = stackd(folder, "up", "--detach", user=NOBODY)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines() == ["stackd: user: not root.", "        Run this as root."]
    assert not folder.exists()


@pytest.mark.parametrize("words", [("ps",), ("down",), ("status", "-o", "json")])
def test_others_may_not_use_a_cluster_of_root(tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "cluster.json").write_text("{}")
    ran = stackd(folder, *words, user=NOBODY)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "Run this as root." in ran.stderr


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with all programs that a node needs but two."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in PROGRAMS.keys() - {"conmon", "skopeo"}:
        (folder / program).write_text("#!/bin/sh\n")
        (folder / program).chmod(0o755)
    return str(folder)


def test_up_names_every_missing_program_and_its_package(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "data"
    ran = stackd(folder, "up", "--detach", path=path)
    assert (ran.returncode, ran.stdout) == (1, "")
    cause, remedy = ran.stderr.splitlines()
    assert cause == "stackd: conmon: missing; skopeo: missing."
    for package in ("conmon", "skopeo"):
        assert f"apt-get install {package}" in remedy
    assert not folder.exists()


def test_doctor_tells_what_is_there_too(tmp_path: Path, path: str) -> None:
    ran = stackd(tmp_path, "doctor", path=path)
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert "FAIL  conmon: missing. Install it: apt-get install conmon" in lines
    assert any(line.startswith("ok    git: ") for line in lines)
