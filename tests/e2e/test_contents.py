"""Configs, secrets and volumes: what tasks see, what stays behind, and where values never are."""

import json
import os
import re
import secrets as random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import truth
from tests.e2e.cluster import Cluster, Ran, until
from tests.e2e.stacks import ready

pytestmark = pytest.mark.e2e

QUICK = """
    image: stackd-demo:1
    healthcheck: {tcp: {port: 8080}, interval: 500ms, timeout: 1s, retries: 2}
    stop_grace_period: 5s
"""
DEPLOY = "    deploy: {update_config: {monitor: 300ms}}\n"


class Stack:
    """A stack of one service `web`."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def apply(self, service: str, rest: str = "", *flags: str, **env: str) -> Ran:
        """Apply lines of the service (indented by four) and of the stack, and wait."""
        text = f"name: {self.name}\nservices:\n  web:{QUICK}{service}{rest}"
        arguments = ("apply", "-f", "-", "--wait", "--timeout", "60s", *flags)
        return self.cluster.run(*arguments, stdin=text, env=env)

    def exec(self, *command: str) -> Ran:
        return self.cluster.run("exec", f"{self.name}/web.1", "--", *command)

    def out(self, *command: str) -> str:
        ran = self.exec(*command)
        assert ran.code == 0, ran.err
        return ran.out

    def tasks(self) -> set[str]:
        return {row["id"] for row in self.cluster.ps(self.name)}

    def volume(self, name: str) -> Path:
        """Where the node keeps a volume of this stack."""
        return self.cluster.data / "nodes" / "node1" / "volumes" / f"{self.name}_{name}"


@pytest.fixture
def shop(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack named after the test."""
    words = re.findall("[a-z0-9]+", request.node.name.removeprefix("test_"))
    name = "-".join(words)[:40].strip("-")
    yield Stack(cluster, name)
    cluster.run("rm", name, "--volumes", "--wait")


def put(cluster: Cluster, kind: str, name: str, value: str) -> str:
    """Create a content, or give it a new version; the version."""
    said = cluster.must(kind, "create", name, "-", stdin=value).out
    return said.split("version ")[1].strip()


@pytest.mark.parametrize(("user", "owner"), [("", "0 0"), ("1000:1000", "1000 1000")])
def test_contents_from_everywhere_with_their_modes(shop: Stack, user: str, owner: str) -> None:
    cluster = shop.cluster
    put(cluster, "config", "outside-config", "external config")
    put(cluster, "secret", "outside-secret", "external secret")
    file = cluster.data.parent / "file.txt"
    file.write_text("from a file")
    given = 'mode: 0440, uid: "7", gid: "8"'
    grants = f"""
    user: "{user}"
    configs: [inline, env, outside, {{source: file, target: /c/file, {given}}}]
    secrets: [inline, env, outside, {{source: file, target: plain, {given}}}]
"""
    contents = "".join(
        f"{kind}s:\n"
        f"  inline: {{content: 'inline {kind} $$ ${{VALUE}}'}}\n"
        f"  env: {{environment: VALUE}}\n"
        f"  outside: {{external: true, name: outside-{kind}}}\n"
        f"  file: {{file: {file}}}\n"
        for kind in ("config", "secret")
    )
    ran = shop.apply(grants.replace('    user: ""\n', "") + DEPLOY, contents, VALUE="from env")
    assert ran.code == 0, ran.err
    places = {
        "/inline": "inline config $ from env",
        "/run/secrets/inline": "inline secret $ from env",
        "/env": "from env",
        "/outside": "external config",
        "/run/secrets/env": "from env",
        "/run/secrets/outside": "external secret",
    }
    for place, value in places.items():
        assert shop.out("cat", place) == value
    names = ["/inline", "/c/file", "/run/secrets/env", "/run/secrets/plain"]
    modes = shop.out("stat", "-c", "%a %u %g", *names).splitlines()
    secret = "400" if user else "444"
    assert user or shop.out("cat", "/c/file") == "from a file"
    assert modes == [f"444 {owner}", "440 7 8", f"{secret} {owner}", "440 7 8"]
    assert shop.exec("sh", "-c", "echo x > /inline").code != 0
    pid = cluster.container_pid(next(iter(shop.tasks())))
    mounts = Path("/proc", str(pid), "mountinfo").read_text().splitlines()
    for place in (*names, "/run/secrets/outside"):
        [line] = [row for row in mounts if row.split()[4] == place]
        kind, _, options = line.partition(" - ")[2].split()
        assert kind == "ramfs" or (kind == "tmpfs" and "noswap" in options)


def test_a_new_content_rolls_the_service_behind_one_name(shop: Stack) -> None:
    cluster = shop.cluster
    grants = f"    configs: [{{source: motd, target: /etc/demo/motd}}]\n{DEPLOY}"
    assert shop.apply(grants, "configs: {motd: {content: one}}\n").code == 0
    first = shop.tasks()
    assert shop.apply(grants, "configs: {motd: {content: one}}\n").code == 0
    assert shop.tasks() == first
    assert shop.apply(grants, "configs: {motd: {content: two}}\n").code == 0
    assert not shop.tasks() & first
    assert shop.out("cat", "/etc/demo/motd") == "two"
    name = f"{shop.name}_motd"
    [row] = cluster.must("config", "inspect", name, "-o", "json").json
    assert (row["name"], len(row["versions"]), row["value"]) == (name, 2, "two")
    assert row["used_by"] == [f"{shop.name}/web"]
    ran = cluster.run("config", "rm", name)
    assert ran.code == 1
    assert f"{shop.name}/web" in ran.err
    ran = cluster.run("rollback", f"{shop.name}/web", "--wait", "--timeout", "60s")
    assert ran.code == 0, ran.err
    assert shop.out("cat", "/etc/demo/motd") == "one"


def test_contents_made_by_hand(shop: Stack) -> None:
    cluster = shop.cluster
    first = put(cluster, "secret", "handmade", "one")
    assert put(cluster, "secret", "handmade", "one") == first
    second = put(cluster, "secret", "handmade", "two")
    [row] = [r for r in cluster.must("secret", "ls", "-o", "json").json if r["name"] == "handmade"]
    assert row["version"] == second
    assert (len(row["versions"]), row["size"], row["value"]) == (2, 3, None)
    assert "two" not in cluster.must("secret", "inspect", "handmade").out
    cluster.must("secret", "rm", "handmade", "--version", first)
    assert cluster.run("secret", "rm", "handmade", "--version", second).code == 1  # the current one
    cluster.must("secret", "rm", "handmade")
    assert cluster.run("secret", "inspect", "handmade").code == 1
    ran = shop.apply(f"    secrets: [gone]\n{DEPLOY}", "secrets: {gone: {external: true}}\n")
    assert ran.code == 1
    assert "gone" in ran.err
    assert cluster.run("secret", "create", "no/name", "-", stdin="x").code == 1
    assert cluster.run("secret", "create", "large", "-", stdin="x" * 600_000).code == 1


@pytest.mark.parametrize("whole", [False, True], ids=["service", "stack"])
def test_a_revoked_version_never_comes_back(shop: Stack, whole: bool) -> None:
    cluster, name = shop.cluster, f"token-of-{'a-stack' if whole else 'a-service'}"
    rest = f"secrets: {{token: {{external: true, name: {name}}}}}\n"
    old = put(cluster, "secret", name, "leaked")
    assert shop.apply(f"    secrets: [token]\n{DEPLOY}", rest).code == 0
    new = put(cluster, "secret", name, "fresh")
    ran = cluster.run("secret", "rm", name, "--version", old)
    assert ran.code == 1  # in use
    assert f"{shop.name}/web" in ran.err
    changed = f"    secrets: [token]\n    environment: {{A: b}}\n{DEPLOY}"
    assert shop.apply(changed, rest).code == 0
    assert shop.out("cat", "/run/secrets/token") == "fresh"
    cluster.must("secret", "rm", name, "--version", old)
    goal = (shop.name, "--to", "1") if whole else (f"{shop.name}/web",)
    ran = cluster.run("rollback", *goal, "--wait", "--timeout", "60s")
    assert ran.code == 0, ran.err
    assert f"version {old} of secret {name} was revoked, {new} is used" in ran.out
    environment = shop.out("cat", "/proc/1/environ").split("\0")
    assert "A=b" not in environment
    assert shop.out("cat", "/run/secrets/token") == "fresh"


def _holding(folder: Path, value: bytes) -> set[str]:
    """Files below a folder that hold the value."""
    found = set()
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            if path.is_symlink() or not path.is_file():
                continue
            try:
                if value in path.read_bytes():
                    found.add(str(path))
            except OSError:  # it has just gone, or is a name of a namespace
                pass
    return found


def _processes(value: bytes) -> set[str]:
    """Files of processes that tell others about them and hold the value."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        for name in ("cmdline", "environ", "comm"):
            try:
                if value in (folder / name).read_bytes():
                    found.add(str(folder / name))
            except OSError:
                pass
    return found


def test_a_secret_is_nowhere_but_with_those_who_were_granted_it(shop: Stack) -> None:
    """A value that cannot be there by chance, looked for everywhere."""
    cluster, canary = shop.cluster, f"canary-{random.token_hex(16)}"
    value = canary.encode()
    name = f"canary-{random.token_hex(3)}"
    put(cluster, "secret", name, canary)
    grants = "    secrets: [outside, caller]\n"
    rest = f"secrets: {{outside: {{external: true, name: {name}}}, caller: {{environment: V}}}}\n"
    assert shop.apply(grants + DEPLOY, rest, V=canary).code == 0
    changed = grants + "    labels: {a: b}\n" + DEPLOY
    text = f"name: {shop.name}\nservices:\n  web:{QUICK}{changed}{rest}"
    shown = [
        cluster.run(*command, stdin=text, env={"V": canary})
        for command in (
            ("plan", "-f", "-"),
            ("plan", "-f", "-", "-o", "json"),
            ("diff", "-f", "-"),
            ("diff", "-f", "-", "-o", "json"),
            ("apply", "-f", "-", "--plan", "0" * 12),
            ("apply", "-f", "-", "--wait"),
            ("apply", "-f", "-", "-o", "json"),
            ("secret", "ls", "-o", "json"),
            ("secret", "inspect", name, "-o", "json"),
            ("secret", "inspect", f"{shop.name}_caller", "-o", "json"),
            ("secret", "rm", name),
            ("status", shop.name, "-o", "json"),
            ("status", shop.name),
            ("why", shop.name, "-o", "json"),
            ("history", shop.name, "-o", "json"),
            ("ps", shop.name, "--all", "-o", "json"),
            ("events", "-o", "json"),
            ("logs", shop.name),
        )
    ]
    assert [r.code for r in shown[:7]] == [0, 0, 1, 1, 1, 0, 0]
    assert not [r for r in shown if canary in r.out + r.err]
    for place in ("outside", "caller"):
        assert shop.out("cat", f"/run/secrets/{place}") == canary
    [task] = shop.tasks()
    assert _processes(value) == set()
    assert _holding(cluster.data, value) == set()
    held = _holding(cluster.run_folder, value)
    assert held
    assert all(f"/b/{task}/files/" in path for path in held)  # the task's own memory file system
    assert _holding(Path("/dev/shm"), value) == set()
    cluster.must("rm", shop.name, "--wait")
    assert _holding(cluster.run_folder, value) == set()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"/b/{task}/" not in mounts
    cluster.must("secret", "rm", name)


def test_a_volume_outlives_tasks_and_its_stack_until_it_is_removed(shop: Stack) -> None:
    cluster = shop.cluster
    service = f"    volumes: ['data:/var/lib/demo']\n    environment: {{A: %s}}\n{DEPLOY}"
    rest = "volumes: {data: {}}\n"
    assert shop.apply(service % "a", rest).code == 0
    shop.out("sh", "-c", "echo kept > /var/lib/demo/file")
    [task] = shop.tasks()
    assert shop.apply(service % "b", rest).code == 0
    assert task not in shop.tasks()
    assert shop.out("cat", "/var/lib/demo/file") == "kept\n"
    name = f"{shop.name}_data"
    ran = cluster.run("volume", "rm", name)
    assert ran.code == 1
    assert f"{shop.name}/web" in ran.err
    cluster.must("rm", shop.name, "--wait")
    [row] = cluster.must("volume", "inspect", name, "-o", "json").json
    assert (row["node"], row["stack"], row["used_by"]) == ("node1", shop.name, [])
    assert shop.apply(service % "c", rest).code == 0
    assert shop.out("cat", "/var/lib/demo/file") == "kept\n"
    cluster.must("rm", shop.name, "--wait")
    assert (shop.volume("data") / "data" / "file").read_text() == "kept\n"
    assert cluster.must("volume", "rm", name).out == f"Removed volume {name}.\n"
    assert not shop.volume("data").exists()
    assert cluster.run("volume", "inspect", name).code == 1
    assert shop.apply(service % "d", rest).code == 0
    assert shop.exec("cat", "/var/lib/demo/file").code == 1
    cluster.must("rm", shop.name, "--wait", "--volumes")
    assert not shop.volume("data").exists()
    assert name not in cluster.must("volume", "ls").out


def containers(cluster: Cluster) -> set[str]:
    """The tasks whose first process is alive."""
    names = (name.split("/") for name in truth.processes(cluster))
    return {parts[2] for parts in names if parts[1:2] == ["b"] and len(parts) == 3}


def test_one_who_writes_a_volume_is_replaced_stop_first(shop: Stack) -> None:
    cluster = shop.cluster
    service = f"    volumes: ['data:/data']\n    environment: {{A: %s}}\n{DEPLOY}"
    rest = "volumes: {data: {}}\n"
    assert shop.apply(service % "a", rest).code == 0
    [old] = shop.tasks()
    text = f"name: {shop.name}\nservices:\n  web:{QUICK}{service % 'b'}{rest}"
    others = containers(cluster) - {old}
    assert cluster.apply(text).code == 0
    together: set[int] = set()

    def replaced() -> bool:
        mine = containers(cluster) - others
        together.add(len(mine))
        return bool(mine - {old})

    until(replaced, "the replacement")
    ready(cluster, shop.name, 1)
    assert max(together) == 1
    wrong = DEPLOY.replace("monitor", "order: start-first, monitor")
    ran = shop.apply(f"    volumes: ['data:/data']\n{wrong}", rest)
    assert ran.code == 1
    assert "shared" in ran.err


def test_json_of_contents_is_one_document(cluster: Cluster) -> None:
    for noun in ("secret", "config", "volume", "network"):
        assert isinstance(json.loads(cluster.must(noun, "ls", "-o", "json").out), list)
