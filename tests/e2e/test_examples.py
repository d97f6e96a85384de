"""Every file of `examples/stacks` is deployed, does what its comments promise, and is removed.

The files are deployed a few at once from a copy in which published ports are exchanged for free
ones. A file without a check here fails `test_every_example_has_a_check`.
"""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.demo.load import Target, fetch
from tests.e2e.cluster import ROOT, Cluster, Ran, free_port, until

pytestmark = pytest.mark.e2e

STACKS = ROOT / "examples" / "stacks"
NAMES = sorted(path.name.removesuffix(".stack.yml") for path in STACKS.glob("*.stack.yml"))
AT_ONCE = 10
CALLER = {"DEMO_RELEASE": "seven"}
"""What the caller's shell has for `interpolation`."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The deployed examples."""

    cluster: Cluster
    folder: Path
    ports: dict[int, int]
    """Port in the file -> port published here."""

    def exec(self, task: str, *command: str) -> Ran:
        return self.cluster.run("exec", task, "--", *command)

    def out(self, task: str, *command: str) -> str:
        """What a command in a task prints; it must succeed."""
        ran = self.exec(task, *command)
        assert ran.code == 0, f"{task}: {command}: {ran.err}"
        return ran.out.strip()

    def environment(self, service: str) -> dict[str, str]:
        """The environment of the service's first process."""
        text = self.out(f"{service}.1", "cat", "/proc/1/environ")
        return dict(part.split("=", 1) for part in text.strip("\0").split("\0"))

    def get(self, port: int, host: str = "localhost", path: str = "/") -> dict[str, object]:
        """The answer to a GET through a published port of the files."""
        target = Target("127.0.0.1", self.ports[port], host)
        status, _, body = asyncio.run(fetch(target, path))
        assert status == 200
        found = json.loads(body)
        assert isinstance(found, dict)
        return found

    def ask(self, port: int, headers: dict[str, str]) -> None:
        """A POST through a published port of the files, with these headers."""
        url = f"http://127.0.0.1:{self.ports[port]}/"
        request = urllib.request.Request(url, b"x", headers, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def deployed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    """All examples, applied and healthy; removed at the end, which is checked too."""
    folder = tmp_path_factory.mktemp("examples") / "stacks"
    shutil.copytree(STACKS, folder)
    ports: dict[int, int] = {}
    for path in folder.glob("*.stack.yml"):
        text = path.read_text()
        for number in map(int, re.findall(r"\b81\d\d\b", text)):
            ports.setdefault(number, free_port())
        path.write_text(re.sub(r"\b81\d\d\b", lambda m: str(ports[int(m[0])]), text))

    def apply(name: str) -> tuple[str, Ran]:
        file = str(folder / f"{name}.stack.yml")
        return name, cluster.run("apply", "-f", file, "--wait", "--timeout", "100s", env=CALLER)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = {n: r.err or r.out for n, r in pool.map(apply, NAMES) if r.code != 0}
        assert not failed
        yield Examples(cluster, folder, ports)
        removed = list(pool.map(lambda n: cluster.run("rm", n, "--wait", "--volumes").code, NAMES))
    assert set(removed) == {0}
    assert not {row["stack"] for row in cluster.must("ls", "-o", "json").json} & set(NAMES)


def test_every_example_has_a_check() -> None:
    checked = {name.removeprefix("test_").replace("_", "-") for name in globals()}
    assert set(NAMES) <= checked


def test_ab(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "ab.stack.yml"
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    ran = cluster.apply(text, "--wait", "--timeout", "100s", name="ab")
    assert ran.code == 3, ran.out + ran.err
    found = cluster.status("ab/web")
    assert found["steps"][found["step"]] == "pause until promoted"
    assert sorted(found["weights"].values()) == [2000, 8000]
    for number in range(6):
        deployed.ask(8109, {"x-group": "b"} if number % 2 else {"x-group": "a"})
    until(lambda: sum(row["requests"] for row in tried(cluster)) == 6, "each request is counted")
    target = next(row for row in tried(cluster) if row["role"] == "target")
    assert target["requests"] >= 3
    assert target["goals"] == target["requests"]
    assert cluster.status("ab/web")["variants"]["goal"]["words"] == "POST / 2xx"
    assert cluster.run("promote", "ab/web", "--wait").code == 0
    assert {deployed.get(8109)["version"] for _ in range(20)} == {"2"}


def tried(cluster: Cluster) -> list[dict[str, Any]]:
    """What either variant of `ab` did."""
    found = cluster.status("ab/web")["variants"]
    return found["variants"] if found else []


def test_anchors(deployed: Examples) -> None:
    one, two = (deployed.environment(f"anchors/{name}") for name in ("one", "two"))
    assert (one["DEMO_VERSION"], two["DEMO_VERSION"]) == ("common", "two")
    assert one["DEMO_DELAY"] == two["DEMO_DELAY"] == "0"


def test_bind_mounts(deployed: Examples) -> None:
    shown = deployed.out("bind-mounts/web.1", "ls", "/doc").split()
    assert set(shown) == {path.name for path in Path("/usr/share/doc").iterdir()}
    ran = deployed.exec("bind-mounts/web.1", "touch", "/doc/new")
    assert ran.code == 1
    assert "Read-only" in ran.err


def test_blue_green(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "blue-green.stack.yml"
    assert deployed.get(8107)["version"] == "1"
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    ran = cluster.apply(text, "--wait", "--timeout", "100s", name="blue-green")
    assert ran.code == 0, ran.err
    assert {deployed.get(8107)["version"] for _ in range(20)} == {"2"}
    assert len(cluster.ps("blue-green")) == 4  # blue is still there
    assert cluster.run("rollback", "blue-green/web", "--wait").code == 0
    assert {deployed.get(8107)["version"] for _ in range(20)} == {"1"}


def test_canary(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "canary.stack.yml"
    before = {row["id"] for row in cluster.ps("canary")}
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    ran = cluster.apply(text, "--wait", "--timeout", "100s", name="canary")
    assert ran.code == 3, ran.out + ran.err
    found = cluster.status("canary/web")
    assert (found["phase"], found["steps"][found["step"]]) == ("paused", "pause until promoted")
    assert sorted(found["weights"].values()) == [5000, 5000]
    assert {deployed.get(8106)["version"] for _ in range(60)} == {"1", "2"}
    canary = {row["id"] for row in cluster.ps("canary")} - before
    assert cluster.run("promote", "canary/web", "--wait").code == 0
    assert {deployed.get(8106)["version"] for _ in range(20)} == {"2"}
    assert {row["id"] for row in cluster.ps("canary")} == before | canary  # none was replaced


def test_configs_and_secrets(deployed: Examples) -> None:
    task = "configs-and-secrets/web.1"
    assert deployed.out(task, "cat", "/motd") == "Welcome. A dollar sign is written $."
    assert "colour = blue" in deployed.out(task, "cat", "/etc/demo/settings.ini")
    assert deployed.out(task, "cat", "/run/secrets/token") == "an example, not a secret"
    listed = deployed.out(
        task, "stat", "-c", "%a %u %g", "/motd", "/etc/demo/settings.ini", "/run/secrets/token"
    )
    assert listed.splitlines() == ["444 0 0", "440 1000 1000", "444 0 0"]
    mounts = deployed.out(task, "cat", "/proc/1/mounts")
    for target in ("/motd", "/etc/demo/settings.ini", "/run/secrets/token"):
        [kind] = [line.split()[2] for line in mounts.splitlines() if line.split()[1] == target]
        assert kind in ("tmpfs", "ramfs")


def test_depends_on(deployed: Examples) -> None:
    def started(service: str) -> int:
        [row] = deployed.cluster.ps(f"depends-on/{service}")
        stat = Path("/proc", str(deployed.cluster.container_pid(row["id"])), "stat").read_text()
        return int(stat.rpartition(")")[2].split()[19])

    assert started("db") < started("web") < started("log")


def test_env_files(deployed: Examples) -> None:
    found = deployed.environment("env-files/web")
    assert found["DEMO_VERSION"] == "from a file"
    assert found["DEMO_DELAY"] == "0.1"
    assert found["FEATURE"] == "no"


def test_features(deployed: Examples) -> None:
    script = (
        "import socket; s = socket.create_connection(('stackd.internal', 8016), 10);"
        'b = b\'{"context": {"targetingKey": "ann", "plan": "pro"}}\';'
        "h = b'POST /ofrep/v1/evaluate/flags HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n';"
        "s.sendall(h + b'content-length: %d\\r\\n\\r\\n' % len(b) + b);"
        "print(s.makefile('rb').read().decode().split('\\r\\n\\r\\n')[1])"
    )
    told = json.loads(deployed.out("features/web.1", "python3", "-c", script))
    values = {flag["key"]: flag["value"] for flag in told["flags"]}
    assert values["dark_mode"] is True
    assert values["beta_search"] is True
    assert values["page_size"] in (20, 40)
    assert values.keys() == {"dark_mode", "new_checkout", "page_size", "beta_search"}


def test_global(deployed: Examples) -> None:
    nodes = [row["name"] for row in deployed.cluster.must("node", "ls", "-o", "json").json]
    assert [row["slot"] for row in deployed.cluster.ps("global")] == nodes
    assert deployed.out(f"global/agent.{nodes[0]}", "echo", "here") == "here"


def test_group(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "group.stack.yml"
    both = ("group/web", "group/api")
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    ran = cluster.apply(text, "--wait", "--timeout", "100s", name="group")
    assert ran.code == 3, ran.out + ran.err
    assert cluster.run("promote", "group/web").code == 0
    for name in both:
        assert cluster.run("wait", name).code == 0
    assert {deployed.get(port)["version"] for port in (8118, 8119)} == {"2"}
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:3")
    assert cluster.apply(text, "--wait", "--timeout", "100s", name="group").code == 3
    assert cluster.run("abort", "group/api").code == 0
    until(lambda: cluster.status("group/web")["phase"] == "aborted", "web goes back with api")
    assert "api of group site is refused" in cluster.status("group/web")["reason"]
    assert {deployed.get(port)["version"] for port in (8118, 8119)} == {"2"}


def test_healthchecks(deployed: Examples) -> None:
    rows = {row["service"]: row["health"] for row in deployed.cluster.ps("healthchecks")}
    assert rows.pop("unchecked") == "none"
    assert rows == dict.fromkeys(("by-http", "by-tcp", "by-command"), "healthy")


def test_http_ingress(deployed: Examples) -> None:
    answers = [deployed.get(8101) for _ in range(8)]
    assert {answer["version"] for answer in answers} == {"1"}
    assert len({answer["host"] for answer in answers}) == 2


def test_init_and_signals(deployed: Examples) -> None:
    task = "init-and-signals/web.1"
    assert "init" in deployed.out(task, "cat", "/proc/1/comm")
    assert deployed.out(task, "id", "-u") == "1000"
    assert deployed.out(task, "pwd") == "/tmp"
    assert deployed.out(task, "uname", "-n") == "demo"
    status = dict(
        line.split(":", 1) for line in deployed.out(task, "cat", "/proc/1/status").splitlines()
    )
    assert int(status["CapBnd"], 16) == 1 << 10  # NET_BIND_SERVICE
    assert "sleep 3600" in deployed.out("init-and-signals/shell.1", "cat", "/proc/1/cmdline")


def test_interpolation(deployed: Examples) -> None:
    found = deployed.environment("interpolation/web")
    assert found["DEMO_VERSION"] == "seven on test"
    assert found["PRICE"] == "5$"


def test_minimal(deployed: Examples) -> None:
    [row] = deployed.cluster.ps("minimal")
    assert (row["stack"], row["service"], row["slot"]) == ("minimal", "web", 1)
    assert row["health"] == "none"


def test_networks(deployed: Examples) -> None:
    ask = (
        "import sys,socket;s=socket.create_connection((sys.argv[1],int(sys.argv[2])),3);print('in')"
    )
    for name in ("back", "api", "api.internal"):
        assert deployed.out("networks/front.1", "python3", "-c", ask, name, "8080") == "in"
    assert deployed.exec("minimal/web.1", "python3", "-c", ask, "api", "8080").code != 0
    [back] = deployed.cluster.ps("networks/back")
    [address] = back["addresses"].values()
    assert deployed.exec("minimal/web.1", "python3", "-c", ask, address, "8080").code != 0
    [node] = deployed.cluster.must("node", "ls", "-o", "json").json
    place = (node["address"], str(deployed.ports[8102]))  # outside: the node's published port
    assert deployed.out("networks/front.1", "python3", "-c", ask, *place) == "in"
    assert deployed.exec("networks/back.1", "python3", "-c", ask, *place).code != 0


def test_placement(deployed: Examples) -> None:
    assert [row["state"] for row in deployed.cluster.ps("placement")] == ["running"] * 2
    assert deployed.cluster.status("placement/web")["labels"] == {"team": "shop"}


def test_recreate(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "recreate.stack.yml"
    assert deployed.get(8105)["version"] == "1"
    [old] = {row["revision"] for row in cluster.ps("recreate")}
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    assert cluster.apply(text, name="recreate").code == 0
    seen: set[frozenset[str]] = set()

    def replaced() -> bool:
        rows = [r for r in cluster.ps("recreate") if r["state"] == "running"]
        seen.add(frozenset(r["revision"] for r in rows))
        return len(rows) == 2 and old not in {r["revision"] for r in rows}

    until(replaced, "both tasks replaced")
    assert all(len(revisions) <= 1 for revisions in seen)

    def answers() -> bool:
        with contextlib.suppress(OSError):  # the port is closed in between
            return deployed.get(8105)["version"] == "2"
        return False

    until(answers, "the new revision answers")


def test_resources(deployed: Examples) -> None:
    [row] = deployed.cluster.ps("resources")
    pid = deployed.cluster.container_pid(row["id"])
    limits = Path("/proc", str(pid), "limits").read_text()
    assert re.search(r"Max open files +1024 +4096", limits)
    assert re.search(r"Max core file size +0 +0", limits)
    assert _cgroup(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(128 * 1024**2)
    assert _cgroup(pid, "pids", "pids.max", "pids.max") == "100"
    quota = _cgroup(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert quota == "50000"


def _cgroup(pid: int, controller: str, old: str, new: str) -> str:
    """A limit of a process's cgroup, version 1 or 2."""
    for line in Path("/proc", str(pid), "cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}", old).read_text().strip()
        if number == "0":
            unified = Path(f"/sys/fs/cgroup{path}", new)
    return unified.read_text().strip()


def test_rolling(deployed: Examples) -> None:
    assert {deployed.get(8104)["host"] for _ in range(16)} == {
        deployed.out(f"rolling/web.{slot}", "uname", "-n") for slot in range(1, 5)
    }
    found = deployed.cluster.status("rolling/web")
    assert found["strategy"] == "rolling"
    assert [(r["desired"], r["ready"]) for r in found["revisions"]] == [(4, 4)]


def test_shadow(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "shadow.stack.yml"
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    assert cluster.apply(text, name="shadow").code == 0
    until(lambda: _step(cluster, "shadow/web") == "analysis for 3s", "a shadow that is judged")
    assert {deployed.get(8108)["version"] for _ in range(20)} == {"1"}
    assert cluster.run("wait", "shadow/web", "--timeout", "100s").code == 0
    assert {deployed.get(8108)["version"] for _ in range(20)} == {"2"}


def _step(cluster: Cluster, service: str) -> str:
    """The current step."""
    found = cluster.status(service)
    return str([*found["steps"], ""][found["step"]])


def test_shared_port(deployed: Examples) -> None:
    answers = {
        (host, path): deployed.get(8103, host, path)["version"]
        for host, path in (
            ("shop.example", "/"),
            ("www.shop.example", "/"),
            ("other.example", "/"),
        )
    }
    assert list(answers.values()) == ["shop", "shop", "rest"]
    target = Target("127.0.0.1", deployed.ports[8103], "shop.example")
    _, headers, _ = asyncio.run(fetch(target, "/cart"))
    assert headers["x-version"] == "cart"


def test_staged_feature(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "staged-feature.stack.yml"
    text = file.read_text().replace("rollout: 0%", "rollout: 100%")
    tasks = [row["id"] for row in cluster.ps("staged-feature")]
    ran = cluster.apply(text, "--wait", "--timeout", "100s")
    assert ran.code == 3, ran.out + ran.err
    [flag] = cluster.status("staged-feature/web")["features"]
    assert flag["share"] == 1_000
    assert flag["steps"][flag["step"]] == "pause until promoted"
    ran = cluster.run("promote", "staged-feature/web/new_checkout", "--wait", "--timeout", "100s")
    assert ran.code == 0, ran.out + ran.err
    [flag] = cluster.must("flag", "ls", "staged-feature", "-o", "json").json
    assert (flag["share"], flag["phase"]) == (10_000, "healthy")
    assert [row["id"] for row in cluster.ps("staged-feature")] == tasks


def test_tcp_ingress(deployed: Examples) -> None:
    assert deployed.get(8102)["version"] == "1"


def test_update_config(deployed: Examples) -> None:
    cluster, file = deployed.cluster, deployed.folder / "update-config.stack.yml"
    text = file.read_text().replace("stackd-demo:1", "stackd-demo:2")
    begun = time.monotonic()
    ran = cluster.apply(text, "--wait", "--timeout", "100s", name="update-config")
    assert ran.code == 0, ran.err
    assert time.monotonic() - begun > 1  # the delay between the two pairs
    rows = cluster.ps("update-config")
    assert {row["image"].split("@")[0].rpartition("/")[2] for row in rows} == {"stackd-demo:2"}


def test_volumes(deployed: Examples) -> None:
    task = "volumes/store.1"
    assert "Read-only" in deployed.exec(task, "touch", "/new").err
    deployed.out(task, "sh", "-c", "echo kept > /var/lib/demo/file; echo t > /tmp/x")
    scratch = deployed.out(task, "stat", "-f", "-c", "%T %b %S", "/scratch").split()
    assert scratch[0] == "tmpfs"
    assert int(scratch[1]) * int(scratch[2]) == 16 * 1024**2
    assert deployed.out(task, "stat", "-c", "%a", "/scratch") == "700"
    deployed.out("volumes/reader.1", "sh", "-c", "echo shared > /also/file")
    assert deployed.out("volumes/reader.1", "cat", "/common/file") == "shared"
    assert "Read-only" in deployed.exec("volumes/reader.1", "touch", "/common/new").err
    names = {row["name"] for row in deployed.cluster.must("volume", "ls", "-o", "json").json}
    assert {"volumes_data", "volumes_common"} <= names
    subprocess.run(["kill", "-9", str(_pid(deployed.cluster, task))], check=True)
    until(lambda: _kept(deployed, task), "the replacement with its data")


def _pid(cluster: Cluster, task: str) -> int:
    [row] = cluster.ps(task)
    return cluster.container_pid(row["id"])


def _kept(deployed: Examples, task: str) -> bool:
    ran = deployed.exec(task, "cat", "/var/lib/demo/file")
    return ran.code == 0 and ran.out == "kept\n" and deployed.exec(task, "ls", "/tmp/x").code != 0
