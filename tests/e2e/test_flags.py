"""Feature toggles in running tasks: on every node, changed by hand and by a release, no restart."""

import json
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, until
from tests.e2e.stacks import ready

pytestmark = pytest.mark.e2e

SCRIPT = """
import socket, sys
body = '{"context": {"targetingKey": "%s"}}' % sys.argv[2]
head = "POST /ofrep/v1/evaluate/flags/%s HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n"
head = head % sys.argv[1] + "content-length: %d\\r\\n\\r\\n" % len(body)
made = socket.create_connection(("stackd.internal", 8016), 10)
made.sendall((head + body).encode())
print(made.makefile("rb").read().decode().split("\\r\\n\\r\\n")[1])
"""


def text(features: str) -> str:
    return f"""
name: flagged
services:
  web:
    image: stackd-demo:1
    healthcheck: {{tcp: {{port: 8080}}, interval: 1s}}
    features: {features}
    deploy: {{replicas: 3, placement: {{max_replicas_per_node: 1}}}}
  other:
    image: stackd-demo:1
    healthcheck: {{tcp: {{port: 8080}}, interval: 1s}}
"""


def told(cluster: Cluster, task: str, flag: str, key: str = "ann") -> dict[str, Any]:
    """What a task is told of a toggle."""
    ran = cluster.must("exec", task, "--", "python3", "-c", SCRIPT, flag, key)
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found


def value(cluster: Cluster, task: str, flag: str, key: str = "ann") -> object:
    return told(cluster, task, flag, key).get("value")


def test_toggles_reach_tasks_on_every_node_without_a_restart(three: Cluster) -> None:
    ran = three.apply(text("{cart: {rollout: 0%}, half: {rollout: 50%}}"), "--wait")
    assert ran.code == 0, ran.err
    rows = ready(three, "flagged/web", 3)
    tasks = sorted(row["id"] for row in rows)
    assert len({row["node"] for row in rows}) == 3
    assert [value(three, task, "cart") for task in tasks] == [False] * 3
    for key in ("ann", "bob", "eve"):
        assert len({value(three, task, "half", key) for task in tasks}) == 1, "nodes agree"
    assert told(three, "flagged/other.1", "cart")["errorCode"] == "FLAG_NOT_FOUND"

    three.must("flag", "set", "flagged/web/cart=on")
    until(lambda: [value(three, task, "cart") for task in tasks] == [True] * 3, "on by hand", 20)
    [cart] = [f for f in three.status("flagged/web")["features"] if f["feature"] == "cart"]
    assert (cart["share"], cart["declared"], cart["override"]["by"]) == (10_000, 0, "root@local")

    changed = text("{cart: {rollout: 100%, value: b, otherwise: a}}")
    plan = three.run("plan", "-f", "-", "--name", "flagged", "-o", "json", stdin=changed).json
    assert [change["kind"] for change in plan["changes"]] == ["change-in-place"]
    assert three.apply(changed, "--wait").code == 0
    until(lambda: [value(three, task, "cart") for task in tasks] == ["b"] * 3, "as declared", 20)
    assert told(three, tasks[0], "half")["errorCode"] == "FLAG_NOT_FOUND"
    [cart] = three.must("flag", "ls", "flagged", "-o", "json").json
    assert (cart["share"], cart["override"]) == (10_000, None)
    assert cart["asked"], "a task has asked for it"
    assert sorted(row["id"] for row in three.ps("flagged/web")) == tasks, "no task was replaced"
    three.must("rm", "flagged", "--wait")
