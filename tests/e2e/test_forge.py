"""A repository with a forge: statuses, webhooks, reverts, approval and pull requests."""

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, until
from tests.fakes.forge import ForgeHost, forge_host
from tests.fakes.gitrepo import Repo

pytestmark = pytest.mark.e2e

SECRET = "0123456789abcdef0123"
GOOD = """\
services:
  web:
    image: stackd-demo:1
    environment: {MARK: "%s"}
    healthcheck: {tcp: {port: 8080}, interval: 300ms, timeout: 1s, retries: 2}
    deploy: {update_config: {monitor: 200ms}}
"""
BAD = GOOD.replace("MARK", "DEMO_LISTEN_LOCAL")


class Source:
    """A bare repository, its clone, and the forge that is told of its commits."""

    def __init__(self, cluster: Cluster, folder: Path, host: ForgeHost) -> None:
        self.cluster = cluster
        self.host = host
        self.tree = Repo(folder / "clone")
        self.origin = folder / "forge.git"
        self.tree.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        for name, text in (("token", "t0k"), ("secret", SECRET)):
            (folder / name).write_text(f"{text}\n")
        self.flags = (
            "--status", "gitea", "--status-token-file", str(folder / "token"),
            "--status-url", f"http://127.0.0.1:{host.port}/api/v1/repos/o/n",
            "--webhook-secret-file", str(folder / "secret"), "--revert-branch", "undo",
        )  # fmt: skip

    def add(self, *flags: str) -> None:
        where = (str(self.origin), "--name", "forge", "--interval", "1h")
        self.cluster.must("repo", "add", *where, *self.flags, *flags)

    def push(self, text: str) -> str:
        commit = self.tree.commit({"forged.stack.yml": text})
        self.tree.git("push", "--quiet", str(self.origin), "HEAD")
        return commit

    def wait(self, commit: str) -> int:
        wait = ("wait", "forged", "--commit", commit, "--timeout", "60s")
        return self.cluster.run(*wait).code

    def row(self) -> dict[str, Any]:
        rows = self.cluster.must("repo", "ls", "-o", "json").json
        return next(dict(row) for row in rows if row["name"] == "forge")

    def told(self, commit: str, state: str) -> None:
        """Wait until the forge has that status."""

        def known() -> bool:
            found = [(path, body["state"]) for path, body, _ in self.host.told]
            return (f"/api/v1/repos/o/n/statuses/{commit}", state) in found

        until(known, f"{state} of {commit}")

    def call(self, signature: str) -> int:
        port = json.loads((self.cluster.data / "cluster.json").read_text())["http_port"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/hooks/forge", b"{}", {"X-Gitea-Signature": signature}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code


@pytest.fixture
def source(cluster: Cluster, tmp_path: Path) -> Iterator[Source]:
    with forge_host() as host:
        yield Source(cluster, tmp_path, host)
        cluster.run("repo", "rm", "forge", "--prune")
        until(lambda: cluster.run("status", "forged").code == 1, "forged is removed")


def test_a_bad_commit_is_told_and_its_revert_pushed(source: Source) -> None:
    first = source.push(GOOD % "a")
    source.add()
    assert source.wait(first) == 0
    source.told(first, "success")
    bad = source.push(BAD % "1")
    assert source.wait(bad) == 2
    source.told(bad, "failure")
    assert {token for _, _, token in source.host.told} == {"token t0k"}
    until(lambda: source.row()["reverts"], "the revert")
    git = f"--git-dir={source.origin}"
    assert source.tree.git(git, "rev-parse", "undo^", "main") == f"{bad}\n{bad}"
    same = (git, "diff", "--quiet", first, "undo")
    source.tree.git(*same)
    assert "commit.reverted" in source.cluster.must("status", "forged").out
    source.tree.git(git, "update-ref", "refs/heads/main", "undo")  # somebody merges it
    assert source.wait(source.tree.git(git, "rev-parse", "main")) == 0


def test_a_webhook_needs_the_secret(source: Source) -> None:
    source.push(GOOD % "a")
    source.add()
    assert source.row()["webhook"] == "/hooks/forge"
    assert source.call(hmac.new(SECRET.encode(), b"{}", hashlib.sha256).hexdigest()) == 202
    assert source.call("0" * 64) == 401
    events = source.cluster.must("events", "-o", "json").out
    assert '"webhook.refused"' in events
    raw = b"".join(path.read_bytes() for path in source.cluster.data.rglob("store.db*"))
    assert SECRET.encode() not in raw


def test_a_commit_waits_for_approval(source: Source) -> None:
    cluster = source.cluster
    first = source.push(GOOD % "a")
    source.add("--approve", "manual")
    assert source.wait(first) == 3
    source.told(first, "pending")
    row = source.row()
    assert (row["waiting"], row["commit"]) == (first, "")
    shown = cluster.must("repo", "ls").out
    assert f"stackd approve forge {row['plan']}" in shown
    assert "create forged/web" in shown
    stale = cluster.run("approve", "forge", "0" * 12)
    assert (stale.code, "is stale" in stale.err) == (1, True)
    cluster.must("approve", "forge", row["plan"])
    assert source.wait(first) == 0
    source.told(first, "success")
    again = cluster.run("approve", "forge", row["plan"])
    assert (again.code, "Nothing waits" in again.err) == (1, True)
    assert cluster.run("repo", "sync", "forge", "--pull").code == 1
    second = source.push(GOOD % "b")
    until(lambda: source.row()["waiting"] == second, "the second waits")
    shown = cluster.run("status", "forged", env={"COLUMNS": "1000"}).out
    assert f"waits for approval: stackd approve forge {source.row()['plan']}" in shown


def test_a_pull_request_against_what_is_followed(source: Source) -> None:
    first = source.push(GOOD % "a")
    source.add()
    assert source.wait(first) == 0
    source.tree.git("checkout", "--quiet", "-b", "feature")
    source.push(GOOD % "b")
    ran = source.cluster.run("diff", "--repo", "forge", "--base", "main", "--head", "feature")
    assert ran.code == 1
    assert "`environment.MARK`: `a` → `b`" in ran.out
    same = source.cluster.run("diff", "--repo", "forge", "--base", "main", "--head", "main")
    assert same.code == 0
    assert source.cluster.status("forged")["release"] == 1
