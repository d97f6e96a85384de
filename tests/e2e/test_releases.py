"""Releases, revisions, holds, going back, superseding, and what changes without a rollout."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import IMAGE, Cluster, Ran, free_port, until

pytestmark = pytest.mark.e2e

NEVER = "{DEMO_LISTEN_LOCAL: '1'}"
"""An environment with which the demo server never becomes healthy."""


def service(
    mark: str = "a",
    image: str = "stackd-demo:1",
    replicas: int = 1,
    update: str = "",
    more: str = "",
) -> str:
    """A service, indented by four; `mark` makes a revision of its own, `never` one that fails."""
    environment = NEVER if mark == "never" else f"{{MARK: {mark}}}"
    return f"""
    image: {image}
    environment: {environment}
    healthcheck: {{tcp: {{port: 8080}}, interval: 500ms, timeout: 1s, retries: 2}}
    stop_grace_period: 5s
    deploy: {{replicas: {replicas}, update_config: {{monitor: 300ms{update}}}}}
{more}"""


def stack(name: str, **services: str) -> str:
    """A stack file."""
    parts = "".join(f"  {key}:{text}" for key, text in services.items())
    return f"name: {name}\nservices:\n{parts}"


class Stack:
    """One stack of a test, driven through the command line."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.service = f"{name}/web"

    def apply(self, *flags: str, **services: str) -> Ran:
        """Apply and wait."""
        text = stack(self.name, **services)
        return self.cluster.apply(text, "--wait", "--timeout", "60s", *flags)

    def declare(self, *flags: str, **services: str) -> dict[str, Any]:
        """Apply without waiting; the answer."""
        ran = self.cluster.apply(stack(self.name, **services), "-o", "json", *flags)
        assert ran.code == 0, ran.err
        found = ran.json
        assert isinstance(found, dict)
        return found

    def plan(self, **services: str) -> dict[str, Any]:
        text = stack(self.name, **services)
        ran = self.cluster.run("plan", "-f", "-", "-o", "json", stdin=text)
        found = ran.json
        assert isinstance(found, dict)
        return found

    def wait(self, *flags: str, name: str = "") -> int:
        ran = self.cluster.run("wait", name or self.name, "--timeout", "60s", *flags)
        return ran.code

    def status(self, service: str = "web") -> dict[str, Any]:
        return self.cluster.status(f"{self.name}/{service}")

    def tasks(self, service: str = "web") -> set[str]:
        return {row["id"] for row in self.cluster.ps(f"{self.name}/{service}")}

    def marks(self, service: str = "web") -> set[str]:
        """MARK of every running task."""
        rows = self.cluster.ps(f"{self.name}/{service}")
        found = set()
        for row in rows:
            pid = self.cluster.container_pid(row["id"])
            parts = Path("/proc", str(pid), "environ").read_text().split("\0")
            found |= {p.removeprefix("MARK=") for p in parts if p.startswith("MARK=")}
        return found

    def history(self) -> list[tuple[int, str]]:
        rows = self.cluster.must("history", self.name, "-o", "json").json
        return [(row["release"], row["state"]) for row in rows]


@pytest.fixture
def shop(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack named after the test."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    yield Stack(cluster, name)
    cluster.run("rm", name, "--volumes")


def test_a_refused_revision_stays_refused_until_retry(shop: Stack) -> None:
    assert shop.apply(web=service("a")).code == 0
    first = shop.tasks()
    assert shop.apply(web=service("never")).code == 2
    found = shop.status()
    assert (found["phase"], found["release"]) == ("aborted", 2)
    [held] = found["hold"]
    bad = held.split()[0]
    assert "refused" in held
    assert f"{bad} refused" in found["reason"]
    assert shop.tasks() == first
    assert shop.apply(web=service("never")).code == 2  # the same again
    assert shop.apply(web=service("c")).code == 0
    assert shop.marks() == {"c"}
    now = shop.tasks()
    plan = shop.plan(web=service("never"))
    assert [change["kind"] for change in plan["changes"]] == ["refuse-revision"]
    assert shop.apply(web=service("never")).code == 2  # also after C
    assert shop.tasks() == now
    assert shop.cluster.run("retry", shop.service, "--wait", "--timeout", "60s").code == 2
    assert shop.tasks() == now
    all_rows = shop.cluster.ps(shop.service, "--all")
    assert sum(row["revision"] == bad for row in all_rows) >= 2  # it was tried again
    assert shop.cluster.run("retry", shop.service).code == 0
    assert shop.apply(web=service("d")).code == 0
    assert shop.wait("--revision", bad, name=shop.service) in (2, 5)


def test_a_service_goes_back_and_holds_what_it_leaves(shop: Stack) -> None:
    for mark in ("a", "b"):
        assert shop.apply(web=service(mark), side=service("x")).code == 0
    [b] = {row["revision"] for row in shop.cluster.ps(shop.service)}
    side = shop.tasks("side")
    assert shop.cluster.run("rollback", shop.service, "--wait", "--timeout", "60s").code == 0
    assert shop.marks() == {"a"}
    found = shop.status()
    assert [held.split()[0] for held in found["hold"]] == [b]
    assert shop.tasks("side") == side
    assert shop.apply(web=service("b"), side=service("x")).code == 2
    assert shop.marks() == {"a"}
    assert shop.cluster.run("retry", shop.service, "--wait", "--timeout", "60s").code == 0
    assert shop.marks() == {"b"}
    ran = shop.cluster.run("rollback", shop.service, "--to", "000000000000")
    assert ran.code == 1
    assert "not a revision" in ran.err


def test_a_stack_goes_back_to_a_release(shop: Stack) -> None:
    for mark in ("a", "b", "c"):
        assert shop.apply(web=service(mark), side=service(mark)).code == 0
    ran = shop.cluster.run("rollback", shop.name, "--to", "1", "--wait", "--timeout", "60s")
    assert ran.code == 0, ran.err
    assert shop.marks("web") == shop.marks("side") == {"a"}
    assert shop.cluster.status(shop.name)["release"] == 1
    assert shop.history() == [(3, "rolled_back"), (2, "rolled_back"), (1, "current")]
    assert shop.wait("--release", "3") == 2
    assert shop.wait("--release", "1") == 0
    assert shop.cluster.run("rollback", shop.name, "--to", "9").code == 1
    assert shop.apply(web=service("d"), side=service("a")).code == 0
    assert shop.history()[0] == (4, "current")
    assert shop.marks("web") == {"d"}


def test_a_newer_release_takes_over_a_rollout(shop: Stack) -> None:
    assert shop.apply(web=service("a", replicas=3)).code == 0
    assert shop.declare(web=service("b", replicas=3))["release"] == 2
    until(lambda: "b" in _revision_marks(shop), "a task of b")
    assert shop.declare(web=service("c", replicas=3))["release"] == 3
    assert shop.wait("--release", "2") == 5
    assert shop.wait("--release", "3") == 0
    assert shop.marks() == {"c"}
    assert not shop.status()["hold"]


def _revision_marks(shop: Stack) -> set[str]:
    try:
        return shop.marks()
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return set()


def test_what_changes_in_place_replaces_no_task(shop: Stack) -> None:
    port, other = free_port(), free_port()

    def text(published: int, path: str, label: str, replicas: int, monitor: str) -> str:
        return f"""
    image: stackd-demo:1
    ports: [{{target: 8080, published: {published}, app_protocol: http}}]
    route: {{path_prefix: {path}}}
    healthcheck: {{tcp: {{port: 8080}}, interval: 500ms}}
    deploy:
      replicas: {replicas}
      labels: {{tier: {label}}}
      placement: {{constraints: [node.labels.none != {label}]}}
      update_config: {{monitor: {monitor}}}
"""

    assert shop.apply(web=text(port, "/", "a", 1, "300ms")).code == 0
    [task] = shop.tasks()
    changed = text(other, "/x", "b", 2, "400ms")
    kinds = [change["kind"] for change in shop.plan(web=changed)["changes"]]
    assert kinds == ["change-in-place"]
    assert shop.apply(web=changed).code == 0
    until(lambda: len([r for r in shop.cluster.ps(shop.name) if r["health"] == "healthy"]) == 2, "")
    assert task in shop.tasks()
    assert len({row["revision"] for row in shop.cluster.ps(shop.name)}) == 1
    get = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
    until(lambda: _printed(*get, f"http://127.0.0.1:{other}/x/") == "404", "the new port")
    assert _printed(*get, f"http://127.0.0.1:{port}/") == "000"
    assert shop.apply(web=text(other, "/", "b", 1, "400ms")).code == 0
    until(lambda: shop.tasks() == {task}, "the other task is gone")


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_scaling_by_hand_holds_until_the_declared_number_changes(shop: Stack) -> None:
    assert shop.apply(web=service("a", replicas=1)).code == 0
    shop.cluster.must("scale", f"{shop.service}=2")
    assert shop.status()["override"]["declared"] == 1
    assert shop.apply(web=service("b", replicas=1)).code == 0  # another field: the override stays
    assert len(shop.tasks()) == 2
    plan = shop.plan(web=service("b", replicas=3))
    assert "clear-override" in [change["kind"] for change in plan["changes"]]
    assert shop.apply(web=service("b", replicas=3)).code == 0
    assert shop.status()["override"] is None
    until(lambda: len(shop.tasks()) == 3, "the declared number")


def layout(folder: Path, version: int) -> str:
    """An OCI layout of one version of the demo image, without a name of its own."""
    folder.mkdir()
    with tarfile.open(IMAGE) as tar:
        tar.extractall(folder, filter="data")
    index = json.loads((folder / "index.json").read_text())
    [entry] = [
        m for m in index["manifests"] if f"stackd-demo:{version}" in str(m.get("annotations"))
    ]
    del entry["annotations"]
    (folder / "index.json").write_text(json.dumps({**index, "manifests": [entry]}))
    return str(folder)


def test_a_tag_is_resolved_once(shop: Stack, tmp_path: Path) -> None:
    cluster, tag = shop.cluster, "moving:latest"
    assert cluster.run("image", "load", "-i", layout(tmp_path / "one", 1)).code == 1  # no name
    cluster.must("image", "load", "-i", str(tmp_path / "one"), "--tag", tag)
    assert shop.apply(web=service(image=tag), side=service()).code == 0
    tasks = shop.tasks()
    cluster.must("image", "load", "-i", layout(tmp_path / "two", 2), "--tag", tag)
    moved = shop.plan(web=service(image=tag), side=service())
    assert not moved["changed"]
    assert any("--pull" in note and tag in note for note in moved["notes"])
    ran = shop.apply(web=service(image=tag), side=service())
    assert ran.code == 0
    assert "--pull" in ran.out
    assert shop.apply(web=service(image=tag), side=service("b")).code == 0  # another service
    assert shop.tasks() == tasks
    assert shop.apply("--pull", web=service(image=tag), side=service("b")).code == 0
    assert not shop.tasks() & tasks
    environment = cluster.must("exec", f"{shop.service}.1", "--", "cat", "/proc/1/environ").out
    assert "DEMO_VERSION=2" in environment.split("\0")
    listed = cluster.must("image", "ls", "-o", "json").json
    assert any(row["name"].endswith(tag) for row in listed)


def test_what_cannot_be_done_is_refused_before(shop: Stack) -> None:
    port = free_port()
    taken = f"    ports: ['{port}:8080']\n"
    assert shop.apply(web=service(more=taken)).code == 0
    cases = {
        "port": service(more=taken),
        "node": service().replace("deploy: {", "deploy: {placement: {constraints: [node.id==x]}, "),
        "image": service(image=f"127.0.0.1:{free_port()}/none:1"),
    }
    for name, text in cases.items():
        ran = shop.cluster.apply(stack(f"cannot-{name}", web=text))
        assert ran.code == 1, f"{name}: {ran.out}"
        assert "\nstackd: " in f"\n{ran.err}", ran.err  # after progress, when it took long
        assert shop.cluster.run("status", f"cannot-{name}").code == 1
    ran = shop.cluster.apply(stack("cannot-port", web=cases["port"]))
    assert str(port) in ran.err
    assert shop.service in ran.err or shop.name in ran.err


def test_wait_tells_a_person_from_time(shop: Stack) -> None:
    cluster = shop.cluster
    assert cluster.run("wait", "no-such-stack").code == 1
    assert cluster.run("wait").code == 1
    pauses = ", failure_action: pause"
    assert shop.apply(web=service("a", replicas=2, update=pauses)).code == 0
    assert shop.apply(web=service("never", replicas=2, update=pauses)).code == 3
    assert shop.status()["phase"] == "paused"
    assert cluster.run("abort", shop.service, "--wait", "--timeout", "60s").code in (0, 2)
    assert shop.marks() == {"a"}
    shop.declare(web=service("b", replicas=2, update=", delay: 3s"))
    until(lambda: cluster.run("pause", shop.service).code == 0, "the rollout is paused")
    assert shop.wait() == 3
    cluster.must("resume", shop.service)
    assert shop.wait() == 0
    slow = service("slow").replace("interval: 500ms", "interval: 30s, start_period: 60s")
    shop.declare(web=slow.replace("{MARK: slow}", NEVER))
    assert cluster.run("wait", shop.name, "--timeout", "1s").code == 4


def test_dependents_are_left_as_they_are_when_their_dependency_fails(shop: Stack) -> None:
    needs = "    depends_on: {db: {condition: service_healthy}}\n"
    assert shop.apply(db=service("a"), web=service("a", more=needs)).code == 0
    tasks = shop.tasks()
    assert shop.apply(db=service("never"), web=service("b", more=needs)).code == 2
    assert shop.tasks() == tasks
    assert shop.marks("db") == {"a"}
    why = shop.cluster.must("why", shop.service).out
    assert "db" in why
    plan = shop.plan(db=service("c"), web=service("b", more=needs))
    objects = [change["object"] for change in plan["changes"]]
    assert objects == [f"{shop.name}/db"]
    assert shop.apply(db=service("c"), web=service("b", more=needs)).code == 0
    assert (shop.marks("db"), shop.marks("web")) == ({"c"}, {"b"})


def test_events_lead_from_a_release_to_its_tasks(shop: Stack) -> None:
    assert shop.apply(web=service("a")).code == 0
    lines = shop.cluster.must("events", "-o", "json").out.splitlines()
    rows = [json.loads(line) for line in lines]
    [start] = [r for r in rows if r["kind"] == "release.created" and r["object"] == shop.name]
    assert set(start) == {"id", "at", "kind", "object", "principal", "cause", "text"}
    assert start["principal"]
    traced = [
        json.loads(line)
        for line in shop.cluster.must(
            "events", "--trace", start["id"], "-o", "json"
        ).out.splitlines()
    ]
    kinds = {row["kind"] for row in traced}
    assert {"release.created", "rollout.started"} <= kinds
    ids = {row["id"] for row in traced}
    assert all(row["cause"] in ids for row in traced if row["id"] != start["id"])
    assert any(row["object"].startswith(f"{shop.name}/web") for row in traced)
