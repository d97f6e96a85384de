"""`stackd diff --base --head` in a clone, as pipelines run it: no root, no cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.gitrepo import Repo

STACK = """\
services:
  web:
    image: example/web:%s
    secrets: [key]
secrets:
  key: {file: key.txt}
"""
Diff = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def clone(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "shop")
    repo.commit({"stacks/web.stack.yml": STACK % 1, "stacks/key.txt": "hush-one"}, "first")
    repo.git("checkout", "--quiet", "-b", "feature")
    return repo


@pytest.fixture
def diff(clone: Repo, tmp_path: Path) -> Diff:
    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "STACKD_DATA": str(tmp_path / "nothing")}
        return subprocess.run(
            [sys.executable, "-m", "stackd", "diff", *arguments],
            cwd=cwd or clone.path / "stacks",
            env={**environment, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_pull_request_as_markdown(clone: Repo, diff: Diff) -> None:
    clone.commit({"stacks/web.stack.yml": STACK % 2, "stacks/key.txt": "hush-two"})
    done = diff("--base", "main", "--head", "feature")
    assert (done.returncode, done.stderr) == (1, "")
    assert "### stackd: 1 stack will change" in done.stdout
    assert "  - `image`: `example/web:1` → `example/web:2`" in done.stdout
    assert "- `secret web_key: changed` — **services that use it are rolled out**" in done.stdout
    assert "  - `secrets`: changed" in done.stdout
    assert "hush" not in done.stdout
    found = json.loads(diff("--base", "main", "--head", "feature", "-o", "json").stdout)
    assert [stack["stack"] for stack in found["stacks"]] == ["web"]
    assert (found["head"], found["problems"]) == (clone.git("rev-parse", "feature"), [])


def test_what_came_to_the_base_since_is_not_in_it(clone: Repo, diff: Diff) -> None:
    clone.commit({"stacks/web.stack.yml": STACK % 2})
    clone.git("checkout", "--quiet", "main")
    clone.commit({"stacks/other.stack.yml": STACK % 1})
    done = diff("--base", "main", "--head", "feature")
    assert "other" not in done.stdout
    assert done.returncode == 1


def test_the_same_is_0_and_any_name_of_a_commit_will_do(clone: Repo, diff: Diff) -> None:
    commit = clone.commit({"README": "x"})
    done = diff("--base", "main", "--head", commit[:10])
    assert (done.returncode, "no stack changes" in done.stdout) == (0, True)
    clone.git("update-ref", "refs/remotes/origin/trunk", "main")
    assert diff("--base", "trunk", "--head", "HEAD").returncode == 0


def test_a_file_that_is_not_valid_is_2_with_its_place(clone: Repo, diff: Diff) -> None:
    clone.commit({"stacks/web.stack.yml": "services:\n  web:\n    imagee: x\n"})
    done = diff("--base", "main", "--head", "feature")
    assert done.returncode == 2
    assert "#### Not valid" in done.stdout
    assert "stacks/web.stack.yml:3:5" in done.stderr


def test_variables_and_the_folder_are_as_repo_add_would_be_given_them(
    clone: Repo, diff: Diff
) -> None:
    clone.commit(
        {"a/x.stack.yml": "services: {web: {image: 'web:${TAG}'}}\n", "b/y.stack.yml": "["}
    )
    done = diff("--base", "main", "--head", "feature", "--path", "a", "--var", "TAG=7")
    assert done.returncode == 1
    assert "create x/web, 1 tasks" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "main"), "--base and --head go together."),
        (("--base", "main", "--head", "nowhere"), "no revision 'nowhere'"),
        (("--base", "main", "--head", "--output=x"), "no revision '--output=x'"),
        (("--base", "main", "--head", "feature", "-f", "x"), "compare two revisions"),
        (("--base", "main", "--head", "feature", "--repo", "ops"), "There is no cluster"),
        (("--base", "a", "--head", "b", "--repo", "ops", "--path", "x"), "--repo knows --path"),
    ],
)
def test_errors_are_2(diff: Diff, arguments: tuple[str, ...], said: str) -> None:
    done = diff(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_a_clone(diff: Diff, tmp_path: Path) -> None:
    done = diff("--base", "main", "--head", "feature", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not in a Git repository" in done.stderr


@pytest.mark.host
def test_a_clone_of_somebody_else_is_not_read(clone: Repo, diff: Diff) -> None:
    for folder, _, files in os.walk(clone.path):
        for name in ("", *files):
            os.chown(Path(folder, name), 12345, -1)
    done = diff("--base", "main", "--head", "feature")
    assert done.returncode == 2
    assert "belongs to another user" in done.stderr
