"""From a stack file to healthy containers that answer, and every verb around it."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator

import pytest

from examples.demo.load import Target, fetch
from tests.e2e.cluster import Cluster, free_port, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def removed(cluster: Cluster) -> Iterator[None]:
    """Other tests find a cluster without these stacks."""
    yield
    for row in cluster.must("ls", "-o", "json").json:
        cluster.must("rm", row["stack"])


def stack(name: str, port: int, version: int = 1, replicas: int = 2, extra: str = "") -> str:
    """A stack of one HTTP service."""
    return f"""
name: {name}
services:
  web:
    image: stackd-demo:{version}
    ports: [{{target: 8080, published: {port}, app_protocol: http}}]
    healthcheck: {{http: {{path: /healthz, port: 8080}}, interval: 1s}}
    deploy: {{replicas: {replicas}, update_config: {{monitor: 1s}}}}
{extra}"""


def get(port: int, path: str = "/") -> tuple[int, bytes]:
    """One GET through the ingress."""
    status, _, body = asyncio.run(fetch(Target("127.0.0.1", port), path))
    return status, body


def test_apply_waits_until_it_answers(cluster: Cluster) -> None:
    port = free_port()
    ran = cluster.apply(stack("hello", port), "--wait", "--timeout", "60s")
    assert ran.code == 0, ran.err
    status, body = get(port)
    assert status == 200
    assert json.loads(body)["version"] == "1"
    rows = cluster.ps("hello")
    assert [r["state"] for r in rows] == ["running", "running"]
    assert {r["health"] for r in rows} == {"healthy"}
    found = cluster.status("hello")
    assert found["phase"] == "healthy"
    assert found["owner"] == "cli"


def test_the_same_file_again_changes_nothing(cluster: Cluster) -> None:
    port = free_port()
    text = stack("same", port, replicas=1)
    assert cluster.apply(text, "--wait").code == 0
    before = {r["id"] for r in cluster.ps("same")}
    ran = cluster.apply(text, "-o", "json")
    assert ran.code == 0
    assert ran.json["changed"] is False
    assert ran.json["release"] == 1
    assert {r["id"] for r in cluster.ps("same")} == before


def test_diff_tells_same_from_different(cluster: Cluster) -> None:
    port = free_port()
    text = stack("differ", port, replicas=1)
    assert cluster.apply(text, "--wait").code == 0
    assert cluster.run("diff", "-f", "-", stdin=text).code == 0
    changed = cluster.run("diff", "-f", "-", stdin=stack("differ", port, version=2, replicas=1))
    assert changed.code == 1
    assert "stackd-demo:1" in changed.out
    assert "stackd-demo:2" in changed.out
    assert cluster.run("diff", "-f", "-", stdin="services: [").code == 2


def test_a_plan_hash_is_refused_when_the_world_has_moved(cluster: Cluster) -> None:
    port = free_port()
    assert cluster.apply(stack("planned", port, replicas=1), "--wait").code == 0
    wanted = stack("planned", port, version=2, replicas=1)
    plan = cluster.run("plan", "-f", "-", "-o", "json", stdin=wanted)
    assert plan.code == 0, plan.err
    assert cluster.apply(stack("planned", port, replicas=3), "--wait").code == 0
    stale = cluster.apply(wanted, "--plan", plan.json["plan_hash"])
    assert stale.code == 1
    assert "stale" in stale.err


def test_scale_is_an_override_until_the_declared_value_changes(cluster: Cluster) -> None:
    port = free_port()
    assert cluster.apply(stack("scaled", port), "--wait").code == 0
    cluster.must("scale", "scaled/web=4")
    until(lambda: len([r for r in cluster.ps("scaled") if r["health"] == "healthy"]) == 4, "4")
    assert cluster.status("scaled/web")["override"]["replicas"] == 4
    assert cluster.apply(stack("scaled", port), "--wait").code == 0
    assert cluster.status("scaled/web")["override"]["replicas"] == 4
    cluster.must("scale", "scaled/web=declared")
    until(lambda: len(cluster.ps("scaled")) == 2, "back to 2")
    assert cluster.status("scaled/web")["override"] is None


def test_exec_gives_the_commands_code(cluster: Cluster) -> None:
    port = free_port()
    assert cluster.apply(stack("runner", port, replicas=1), "--wait").code == 0
    ran = cluster.run("exec", "runner/web.1", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran.code, ran.out, ran.err) == (7, "out\n", "err\n")
    assert cluster.run("exec", "runner/web.1", "--", "cat", stdin="through").out == "through"
    assert cluster.run("exec", "runner/web.1", "--", "/no/such").code == 127
    assert cluster.run("exec", "runner/web.1", "--", "/etc").code == 126
    assert cluster.run("exec", "runner/web.9", "--", "true").code == 125


def test_logs_show_what_a_task_wrote(cluster: Cluster) -> None:
    text = """
name: talker
services:
  say:
    image: stackd-demo:1
    entrypoint: [sh, -c, 'echo to-stdout; echo to-stderr >&2; exec sleep 1000']
"""
    assert cluster.apply(text, "--wait").code == 0
    until(lambda: cluster.run("logs", "talker").out, "what it wrote")
    ran = cluster.must("logs", "talker")
    assert "to-stdout" in ran.out
    assert "to-stderr" in ran.err


def test_removal_leaves_no_task_and_closes_the_port(cluster: Cluster) -> None:
    port = free_port()
    assert cluster.apply(stack("gone", port), "--wait").code == 0
    assert cluster.run("rm", "gone", "--wait", "--timeout", "60s").code == 0
    assert cluster.run("status", "gone").code == 1
    with pytest.raises(OSError, match=r"refused|Connect"):
        get(port)


def test_two_services_find_each_other_by_name(cluster: Cluster) -> None:
    port = free_port()
    extra = """
  back:
    image: stackd-demo:2
    healthcheck: {tcp: {port: 8080}, interval: 1s}
"""
    assert cluster.apply(stack("pair", port, replicas=1, extra=extra), "--wait").code == 0
    script = (
        "import socket,sys; s = socket.create_connection(('%s', 8080), 5);"
        "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n');"
        "print(s.makefile('rb').read().decode().split('\\r\\n\\r\\n')[1])"
    )
    for name in ("back", "back.pair", "pair_back", "tasks.back"):
        ran = cluster.run("exec", "pair/web.1", "--", "python3", "-c", script % name)
        assert ran.code == 0, f"{name}: {ran.err}"
        assert json.loads(ran.out)["version"] == "2"


def test_a_crashing_task_is_replaced(cluster: Cluster) -> None:
    port = free_port()
    assert cluster.apply(stack("fragile", port), "--wait").code == 0
    before = {r["id"]: r for r in cluster.ps("fragile")}
    victim, other = sorted(before)
    os.kill(cluster.container_pid(victim), signal.SIGKILL)
    until(
        lambda: [
            r for r in cluster.ps("fragile") if r["id"] not in before and r["health"] == "healthy"
        ],
        "replacement",
    )
    after = {r["id"] for r in cluster.ps("fragile")}
    assert other in after
    assert victim not in after
    [old] = [r for r in cluster.ps("fragile", "--all") if r["id"] == victim]
    assert old["state"] == "failed"
    assert "SIGKILL" in old["error"]
