"""From a commit to running tasks, and everything that is said about who owns what."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Ran, until
from tests.fakes.gitrepo import Repo

pytestmark = pytest.mark.e2e


def running(version: int = 1, name: str = "", more: str = "", replicas: int = 1) -> str:
    """A stack file whose service runs; `more`: lines of the service, indented by four."""
    named = f"name: {name}\n" if name else ""
    return f"""{named}services:
  web:
    image: stackd-demo:{version}
    healthcheck: {{tcp: {{port: 8080}}, interval: 500ms, timeout: 1s, retries: 2}}
    deploy: {{replicas: {replicas}, update_config: {{monitor: 500ms}}}}
{more}"""


def declared(mark: str = "a", name: str = "") -> str:
    """A stack file that is healthy at once: its service has no tasks."""
    named = f"name: {name}\n" if name else ""
    return f"""{named}services:
  web: {{image: "stackd-demo:1", environment: {{MARK: {mark}}}, deploy: {{replicas: 0}}}}
"""


class Source:
    """A repository that the cluster follows, pushed to from a work tree."""

    def __init__(self, cluster: Cluster, folder: Path, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.tree = Repo(folder / name)
        self.origin = folder / f"{name}.git"
        self.tree.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))

    def add(self, *flags: str) -> Ran:
        return self.cluster.must("repo", "add", str(self.origin), "--name", self.name, *flags)

    def commit(self, files: dict[str, str] | None = None, *gone: str) -> str:
        """Commit here, without pushing."""
        self.tree.remove(*gone)
        return self.tree.commit(files)

    def push(self, files: dict[str, str] | None = None, *gone: str) -> str:
        """Commit and push; the commit."""
        commit = self.commit(files, *gone)
        self.tree.git("push", "--quiet", "--force", str(self.origin), "main")
        return commit

    def wait(self, stack: str, commit: str, seconds: int = 40) -> int:
        """The exit code of waiting for a commit."""
        timeout = f"{seconds}s"
        return self.cluster.run("wait", stack, "--commit", commit, "--timeout", timeout).code

    def problem(self, stack: str) -> str:
        """What `status` says of a stack in words."""
        return self.cluster.run("status", stack, env={"COLUMNS": "1000"}).out

    def seen(self, commit: str) -> dict[str, Any]:
        """The row of `repo ls` once it says that the commit was processed."""

        def row() -> dict[str, Any]:
            rows = self.cluster.must("repo", "ls", "-o", "json").json
            [own] = [r for r in rows if r["name"] == self.name]
            return own if own["commit"] == commit else {}

        return until(row, f"{self.name} at {commit}")


@pytest.fixture
def source(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Source]:
    """A repository named after the test; its stacks are removed with it."""
    name = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[:24].strip("-")
    made = Source(cluster, tmp_path, name)
    yield made
    cluster.run("repo", "rm", name, "--prune")


def test_a_commit_becomes_tasks_and_wait_tells_how_it_went(source: Source) -> None:
    cluster, flag = source.cluster, "    environment: {DEMO_LISTEN_LOCAL: '1'}\n"
    first = source.push({"one.stack.yml": running(), "two.stack.yml": declared()})
    assert source.wait("one", first, 1) == 4
    source.add()
    assert source.wait("one", first) == 0
    found = cluster.status("one")
    assert (found["owner"], found["phase"]) == (f"repo:{source.name}", "healthy")
    assert (found["commit"], found["seen_commit"], found["release"]) == (first, first, 1)
    tasks = {row["id"] for row in cluster.ps("one")}
    _leads_to_a_task(cluster, source.name)

    other = source.push({"two.stack.yml": declared("b")})
    assert source.wait("one", other) == 0
    assert source.wait("two", other) == 0
    found = cluster.status("one")
    assert (found["commit"], found["seen_commit"]) == (first, other)
    assert cluster.status("two")["commit"] == other

    never = source.push({"one.stack.yml": running(more=flag)})
    assert source.wait("one", never) == 2
    found = cluster.status("one")
    assert (found["phase"], found["commit"]) == ("aborted", never)
    [held] = found["services"][0]["hold"]
    assert "refused" in held
    assert {row["id"] for row in cluster.ps("one")} == tasks
    [state] = [r["state"] for r in cluster.must("history", "one", "-o", "json").json][:1]
    assert state == "failed"

    good = source.push({"one.stack.yml": running(2)})
    assert source.wait("one", good) == 0
    assert source.wait("one", never) == 5
    assert source.wait("one", first) == 5
    assert source.wait("one", other) == 5  # declared what `first` did
    assert source.wait("one", good[:12]) == 0
    assert source.wait("one", "f" * 40, 1) == 4


def _leads_to_a_task(cluster: Cluster, repository: str) -> None:
    """The causal chain of a commit's event has its release, its rollout and its task."""
    lines = cluster.must("events", "-o", "json").out.splitlines()
    known = [json.loads(line) for line in lines]
    [start] = [e for e in known if e["kind"] == "repository.commit" and e["object"] == repository]
    traced = cluster.must("events", "--trace", start["id"], "-o", "json").out.splitlines()
    kinds = {(e["kind"], e["object"]) for e in map(json.loads, traced)}
    assert {
        ("repository.commit", repository),
        ("release.created", "one"),
        ("rollout.started", "one/web"),
        ("task.created", "one/web.1"),
    } <= kinds


def test_several_commits_in_one_push(source: Source) -> None:
    source.add()
    source.push({"one.stack.yml": declared(), "two.stack.yml": declared()})
    middle = source.commit({"one.stack.yml": declared("b")})
    other = source.commit({"two.stack.yml": declared("b")})
    last = source.push({"two.stack.yml": declared("c")})
    assert source.wait("one", last) == source.wait("two", last) == 0
    assert source.wait("one", middle) == source.wait("one", other) == 0
    assert source.wait("two", middle) == source.wait("two", other) == 5
    assert source.cluster.status("one")["commit"] == last


def test_a_bad_file_stops_nobody_else(source: Source) -> None:
    cluster = source.cluster
    source.add()
    good = source.push({"one.stack.yml": declared(), "two.stack.yml": declared()})
    assert source.wait("one", good) == 0
    bad = source.push(
        {
            "one.stack.yml": declared().replace("image", "imagine"),
            "two.stack.yml": declared("b"),
            "new.stack.yml": "services: [",
        }
    )
    assert source.wait("two", bad) == 0
    assert source.wait("one", bad) == 2
    assert source.wait("new", bad) == 2
    row = source.seen(bad)
    assert any(p.startswith("one.stack.yml:2:") and "imagine" in p for p in row["problems"])
    assert any(p.startswith("new.stack.yml:") for p in row["problems"])
    found = cluster.status("one")
    assert (found["commit"], found["seen_commit"]) == (good, bad)
    shown = source.problem("one")
    assert "one.stack.yml:2:" in shown
    assert good[:8] in shown
    assert "imagine" in cluster.must("why", "one").out
    still = source.push({"two.stack.yml": declared("c")})
    assert source.wait("two", still) == 0
    assert source.wait("one", still) == source.wait("one", bad) == 2
    mended = source.push({"one.stack.yml": declared("b"), "new.stack.yml": declared()})
    assert source.wait("one", mended) == source.wait("new", mended) == 0
    assert "one.stack.yml" not in source.problem("one")


def test_two_files_with_one_name(source: Source) -> None:
    source.add()
    first = source.push({"a/stack.yml": declared(name="twice"), "other.stack.yml": declared()})
    assert source.wait("twice", first) == 0
    double = source.push({"b.stack.yml": declared("b", "twice"), "other.stack.yml": declared("b")})
    assert source.wait("other", double) == 0
    assert source.wait("twice", double) == 2
    problems = source.seen(double)["problems"]
    for place in ("a/stack.yml", "b.stack.yml"):
        assert any(p.startswith(place) and "a/stack.yml and b.stack.yml" in p for p in problems)
    found = source.cluster.status("twice")
    assert (found["commit"], found["release"]) == (first, 1)
    one = source.push({}, "a/stack.yml")
    assert source.wait("twice", one) == 0
    assert source.cluster.status("twice")["release"] == 2


def test_a_renamed_file_is_the_same_stack(source: Source) -> None:
    source.add("--prune", "--allow-empty")
    first = source.push({"old.stack.yml": declared(name="moved")})
    assert source.wait("moved", first) == 0
    second = source.push({"folder/new.stack.yml": declared(name="moved")}, "old.stack.yml")
    assert source.wait("moved", second) == 0
    assert source.cluster.status("moved")["release"] == 1
    ran = source.cluster.run("rm", "moved")
    assert ran.code == 1
    assert f"repo:{source.name}" in ran.err
    assert "folder/new.stack.yml" in ran.err


def test_a_vanished_file(source: Source) -> None:
    cluster = source.cluster
    source.add()
    first = source.push({"kept.stack.yml": declared(), "rest.stack.yml": declared()})
    assert [source.wait(name, first) for name in ("kept", "rest")] == [0, 0]
    gone = source.push({}, "kept.stack.yml")
    source.seen(gone)
    assert "kept.stack.yml: the file is gone, and without --prune" in source.problem("kept")
    cluster.must("repo", "rm", source.name)
    assert cluster.status("kept")["owner"] == "cli"
    cluster.must("rm", "kept", "--wait")
    cluster.must("rm", "rest", "--wait")


def test_prune_removes_stacks_but_all_of_them_only_when_allowed(
    source: Source, tmp_path: Path
) -> None:
    cluster = source.cluster
    source.add("--prune")
    first = source.push({f"{name}.stack.yml": declared() for name in ("p-one", "p-two", "p-three")})
    assert source.wait("p-one", first) == 0
    source.push({}, "p-one.stack.yml")
    until(lambda: cluster.run("status", "p-one").code == 1, "p-one is removed")
    empty = source.push({}, "p-two.stack.yml", "p-three.stack.yml")
    assert len(source.seen(empty)["problems"]) == 2
    assert "--allow-empty" in source.problem("p-two")
    cluster.must("repo", "rm", source.name, "--prune")
    until(lambda: cluster.run("status", "p-two").code == 1, "p-two is removed")
    again = Source(cluster, tmp_path / "again", source.name)
    again.add("--prune", "--allow-empty")
    last = again.push({"p-four.stack.yml": declared()})
    assert again.wait("p-four", last) == 0
    again.push({}, "p-four.stack.yml")
    until(lambda: cluster.run("status", "p-four").code == 1, "p-four is removed")


def test_variables_and_files_come_from_the_commit(source: Source) -> None:
    cluster = source.cluster
    text = """services:
  web:
    image: stackd-demo:${TAG}
    env_file: ./web.env
    environment: {STAGE: "${STAGE}", PLAIN: "${HOME:-unset}"}
    configs: [{source: settings, target: /etc/demo/settings}]
    healthcheck: {tcp: {port: 8080}, interval: 500ms}
    deploy: {update_config: {monitor: 500ms}}
configs: {settings: {file: ./conf/settings.ini}}
"""
    source.add("--var", "TAG=2", "--var", "STAGE=var")
    first = source.push(
        {
            "apps/vars.stack.yml": text,
            "apps/.env": "STAGE=dotenv\nTAG=1\n",
            "apps/web.env": "FROM_FILE=yes\n",
            "apps/conf/settings.ini": "colour = blue\n",
        }
    )
    assert source.wait("vars", first) == 0
    read = ("exec", "vars/web.1", "--", "cat")
    environment = cluster.must(*read, "/proc/1/environ").out.split("\0")
    assert {"STAGE=var", "PLAIN=unset", "FROM_FILE=yes", "DEMO_VERSION=2"} <= set(environment)
    assert cluster.must(*read, "/etc/demo/settings").out == "colour = blue\n"
    second = source.push({"apps/conf/settings.ini": "colour = red\n"})
    assert source.wait("vars", second) == 0
    assert cluster.must(*read, "/etc/demo/settings").out == "colour = red\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("volumes: ['./data:/data']", "relative"),
        ("environment: {A: '${NOWHERE}'}", "NOWHERE"),
        ("environment: {A: }", "A"),
        ("env_file: ./none.env", "none.env"),
    ],
)
def test_what_git_cannot_mean_is_refused_with_its_place(
    source: Source, line: str, said: str
) -> None:
    source.add()
    commit = source.push({"bad.stack.yml": f"services:\n  web:\n    image: a:1\n    {line}\n"})
    [problem] = source.seen(commit)["problems"]
    assert re.match(r"bad\.stack\.yml:4:\d+: ", problem)
    assert said in problem


def test_a_stack_has_one_owner(source: Source) -> None:
    cluster = source.cluster
    source.add()
    first = source.push({"mine.stack.yml": declared(), "other.stack.yml": declared()})
    assert source.wait("mine", first) == 0
    owner = f"repo:{source.name}"
    ran = cluster.apply(declared("hand"), name="mine")
    assert ran.code == 1
    assert owner in ran.err
    assert cluster.run("rm", "mine").code == 1
    assert cluster.apply(declared("hand"), "--override", "--wait", name="mine").code == 0
    assert cluster.status("mine")["owner"] == owner
    assert "deployed by hand by" in source.problem("mine")
    other = source.push({"other.stack.yml": declared("b")})
    assert source.wait("other", other) == 0
    assert "deployed by hand by" in source.problem("mine")
    back = source.push({"mine.stack.yml": declared("b")})
    assert source.wait("mine", back) == 0
    found = cluster.status("mine")
    assert (found["commit"], found["release"]) == (back, 3)
    assert "deployed by hand by" not in source.problem("mine")
    assert cluster.apply(declared("c"), "--override", name="mine").code == 0
    same = source.push({"mine.stack.yml": declared("c")})  # what was deployed by hand
    assert source.wait("mine", same) == 0
    assert cluster.status("mine")["commit"] == same
    assert "deployed by hand by" not in source.problem("mine")


def test_a_stack_of_the_command_line_is_handed_over(source: Source) -> None:
    cluster = source.cluster
    assert cluster.apply(declared("hand"), name="handed").code == 0
    source.add()
    commit = source.push({"handed.stack.yml": declared("git")})
    [problem] = source.seen(commit)["problems"]
    assert "owned by cli" in problem
    assert f"stackd adopt handed --repo {source.name}" in problem
    assert source.wait("handed", commit) == 2
    assert cluster.status("handed")["release"] == 1
    cluster.must("adopt", "handed", "--repo", source.name)
    assert source.wait("handed", commit) == 0
    found = cluster.status("handed")
    assert (found["owner"], found["release"]) == (f"repo:{source.name}", 2)
    cluster.must("repo", "rm", source.name)
    found = cluster.status("handed")
    assert (found["owner"], found["release"]) == ("cli", 2)
    assert cluster.apply(declared("again"), name="handed").code == 0
    cluster.must("rm", "handed", "--wait")


def test_sync_returns_when_the_newest_commit_is_processed(source: Source) -> None:
    source.push({"synced.stack.yml": declared()})
    source.add()
    commit = source.push({"synced.stack.yml": declared("b")})
    [row] = source.cluster.must("repo", "sync", source.name, "--wait", "-o", "json").json
    assert row["commit"] == commit
    assert source.cluster.status("synced")["commit"] == commit


def test_a_force_push_is_followed_and_told(source: Source) -> None:
    source.add()
    first = source.push({"forced.stack.yml": declared()})
    second = source.push({"forced.stack.yml": declared("b")})
    assert source.wait("forced", second) == 0
    source.tree.git("reset", "--quiet", "--hard", first)
    third = source.push({"forced.stack.yml": declared("c")})
    assert source.wait("forced", third) == 0
    events = source.cluster.must("events", "-o", "json").out
    assert "repository.rewritten" in events
    assert source.wait("forced", second) == 5


def test_folders_and_names(source: Source) -> None:
    source.add("--path", "deploy")
    commit = source.push(
        {
            "deploy/stack.yml": declared(),
            "deploy/f-Two/compose.yaml": declared(),
            "deploy/docker-stack.yml": declared(name="f-three"),
            "deploy/deep/er/f_four.stack.yaml": declared(),
            "deploy/node_modules/f-no.stack.yml": declared(),
            "deploy/vendor/f-no.stack.yml": declared(),
            "deploy/.hidden/f-no.stack.yml": declared(),
            "deploy/values.yml": declared(),
            "f-no.stack.yml": declared(),
        }
    )
    stacks = set(source.seen(commit)["stacks"])
    assert stacks == {"deploy", "f-two", "f-three", "f-four"}


def test_a_plan_of_a_commit_deploys_nothing(source: Source) -> None:
    cluster = source.cluster
    source.add("--prune")
    first = source.push({"planned.stack.yml": declared(), "going.stack.yml": declared()})
    assert source.wait("planned", first) == 0
    flags = ("--repo", source.name)
    assert cluster.run("diff", *flags).code == 0
    source.commit({"planned.stack.yml": declared("b"), "bad.stack.yml": "a: ["}, "going.stack.yml")
    second = source.tree.git("rev-parse", "HEAD")
    assert cluster.run("plan", *flags, "--commit", second).code == 1  # not pushed yet
    source.tree.git("push", "--quiet", str(source.origin), "main:later")
    source.tree.git("reset", "--quiet", "--hard", first)
    third = source.push({"planned.stack.yml": declared("c")})
    assert source.wait("planned", third) == 0
    ran = cluster.run("plan", *flags, "--commit", first[:10], "-o", "json")
    assert ran.code == 0, ran.err
    [going, planned] = ran.json["plans"]
    assert (going["stack"], going["changed"]) == ("going", False)
    assert [line["kind"] for line in planned["changes"]] == ["replace-revision"]
    assert "MARK" in planned["diff"]
    assert cluster.run("diff", *flags, "--commit", first).code == 1
    assert cluster.run("diff", "--repo", "nowhere").code == 2
    assert cluster.status("planned")["commit"] == third
