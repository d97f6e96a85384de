"""Feature toggles in running tasks: on every node, changed by hand, by a release and by steps, no
restart."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from stackd.core.traffic.reach import bucket
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


def told(cluster: Cluster, task: str, toggle: str, key: str = "ann") -> dict[str, Any]:
    """What a task is told of a toggle."""
    ran = cluster.must("exec", task, "--", "python3", "-c", SCRIPT, toggle, key)
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found


def value(cluster: Cluster, task: str, toggle: str, key: str = "ann") -> object:
    return told(cluster, task, toggle, key).get("value")


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


SDK = """
import json, subprocess, sys
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
[route] = json.loads(subprocess.check_output(["ip", "-j", "route", "show", "default"]))
gateway = route["gateway"]
api.set_provider(OFREPProvider(f"http://{gateway}:8016"))
client = api.get_client()
keys = (f"user-{n}" for n in range(int(sys.argv[1])))
print(sum(client.get_boolean_value("cart", False, EvaluationContext(key)) for key in keys))
"""
USERS = 100
STAGED = """
name: staged
services:
  web:
    image: stackd-demo:1
    healthcheck: {tcp: {port: 8080}, interval: 1s}
    features:
      cart:
        rollout: SHARE
        strategy:
          steps:
            - {set_weight: 30%}
            - {pause: {}}
            - {set_weight: 60%}
            - analysis: {checks: [{http: {url: URL}, failures: 1}], warm_up: 0s, interval: 1s}
    deploy: {replicas: 2}
"""


class _Says(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def reached(cluster: Cluster, task: str) -> int:
    """How many of the users have it, as the OpenFeature SDK in the task's network is told."""
    pid = str(cluster.container_pid(task))
    argv = ["nsenter", "--target", pid, "--net", sys.executable, "-c", SDK, str(USERS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_staged_toggle_grows_and_goes_back_by_itself(three: Cluster) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Says) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        text = STAGED.replace("URL", f"http://127.0.0.1:{server.server_port}/")
        assert three.apply(text.replace("SHARE", "0%"), "--wait").code == 0
        tasks = sorted(row["id"] for row in ready(three, "staged/web", 2))
        some = sum(bucket("staged", "cart", f"user-{n}") < 3_000 for n in range(USERS))
        assert 0 < some < USERS

        ran = three.apply(text.replace("SHARE", "100%"), "--wait")
        assert ran.code == 3, (ran.code, ran.out, ran.err)
        assert [reached(three, task) for task in tasks] == [some] * 2

        server.status = 500  # type: ignore[attr-defined]
        ran = three.run("promote", "staged/web/cart", "--wait")
        assert ran.code == 2, (ran.code, ran.out, ran.err)
        found = three.status("staged/web")
        assert found["phase"] == "aborted"
        assert found["hold"][0].startswith("toggle cart at 100% refused: share 100% did not pass")
        assert [reached(three, task) for task in tasks] == [0] * 2

        server.status = 200  # type: ignore[attr-defined]
        three.must("retry", "staged/web/cart")
        assert three.run("wait", "staged/web/cart").code == 3
        assert three.run("promote", "staged/web/cart", "--wait").code == 0
        assert [reached(three, task) for task in tasks] == [USERS] * 2
        server.shutdown()
    assert sorted(row["id"] for row in three.ps("staged/web")) == tasks, "no task was replaced"
    three.must("rm", "staged", "--wait")
