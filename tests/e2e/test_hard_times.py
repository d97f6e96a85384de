"""What befalls single services and processes: a port that somebody takes while Envoy is down, a
container out of memory, a check that flaps, clocks that jump. The cause is told by name, nothing
else is restarted, and it ends by itself."""

import contextlib
import os
import signal
import socket
import subprocess

import pytest

from tests.e2e import truth
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready
from tests.e2e.test_faults import answers, unchanged

pytestmark = pytest.mark.e2e


def taken(port: int) -> socket.socket | None:
    """The port, once nobody else has it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("0.0.0.0", port))
        made.listen()
    except OSError:
        made.close()
        return None
    return made


def test_a_port_taken_while_envoy_is_down(cluster: Cluster) -> None:
    """The keeper is stopped meanwhile, so that the thief surely wins."""
    web, other = Web("robbed", free_port(), replicas=1), Web("spared", free_port(), replicas=1)
    for one in (web, other):
        assert cluster.apply(one.text, "--wait").code == 0
        until(lambda one=one: answers(one.port), "it serves")  # type: ignore[misc]
    before = truth.processes(cluster)
    [envoy] = [n for n in before if n.startswith("node1/envoy-1")]
    keeper = before["node1/envoy-keeper"]
    os.kill(keeper.pid, signal.SIGSTOP)
    try:
        before[envoy].kill()
        thief = until(lambda: taken(web.port), "the port is free")
        assert thief is not None
    finally:
        os.kill(keeper.pid, signal.SIGCONT)
    with contextlib.closing(thief):
        until(lambda: answers(other.port), "the other port is served")
        name = f"{os.getpid()}"
        until(lambda: name in cluster.must("why", "robbed").out, "why names who has it", 20)
        print(cluster.must("why", "robbed").out)
    until(lambda: answers(web.port), "the port is served again", 20)
    until(lambda: name not in cluster.must("why", "robbed").out, "it is over")
    unchanged(cluster, before, "node1/envoy-1")
    for stack in ("robbed", "spared"):
        assert cluster.run("rm", stack, "--wait").code == 0


GREEDY = """
name: greedy
services:
  web:
    image: stackd-demo:1
    command: [python3, -c, "import time; time.sleep(2); x = bytearray(200 << 20); time.sleep(600)"]
    healthcheck: {disable: true}
    deploy:
      resources: {limits: {memory: 32M}}
      update_config: {monitor: 500ms}
  calm:
    image: stackd-demo:1
"""


def test_a_container_out_of_memory(cluster: Cluster) -> None:
    assert cluster.apply(GREEDY).code == 0
    text = "out of memory (limit 32 MiB)"

    def told() -> bool:
        return any(text in row["error"] for row in cluster.ps("greedy/web", "--all"))

    until(told, "ps says why")
    [calm] = [row for row in cluster.ps("greedy/calm") if row["state"] == "running"]
    until(lambda: text in cluster.must("why", "greedy/web").out, "why says it")
    assert text in cluster.must("events", "greedy/web").out
    until(lambda: len(cluster.ps("greedy/web", "--all")) >= 2, "it is replaced")
    assert calm["id"] in {row["id"] for row in cluster.ps("greedy/calm")}
    assert cluster.run("rm", "greedy", "--wait").code == 0


FLAPPING = """
name: flapping
services:
  web:
    image: stackd-demo:1
    ports: [{target: 8080, published: PORT, app_protocol: http}]
    healthcheck: {test: [CMD, test, "!", -e, /tmp/ill], interval: 300ms, retries: 3}
    deploy: {replicas: 2, update_config: {monitor: 500ms}}
"""


def exec_in(cluster: Cluster, task: str, *argv: str) -> None:
    ran = cluster.run("exec", task, "--", *argv)
    assert ran.code == 0, ran.err


def test_a_check_that_flaps(cluster: Cluster) -> None:
    """Fewer failures in a row than `retries` mean nothing; that many end the task, with the
    cause, and it alone is replaced."""
    port = free_port()
    assert cluster.apply(FLAPPING.replace("PORT", str(port)), "--wait").code == 0
    before = {row["id"] for row in ready(cluster, "flapping", 2)}
    [victim] = [row for row in cluster.ps("flapping") if row["slot"] == 1]
    script = "for i in 1 2 3 4 5; do touch /tmp/ill; sleep 0.4; rm /tmp/ill; sleep 0.7; done"
    exec_in(cluster, "flapping/web.1", "sh", "-c", script)
    assert {row["id"] for row in ready(cluster, "flapping", 2)} == before
    exec_in(cluster, "flapping/web.1", "touch", "/tmp/ill")
    until(lambda: victim["id"] not in {r["id"] for r in cluster.ps("flapping")}, "it is ended")
    after = {row["id"] for row in ready(cluster, "flapping", 2)}
    assert before - after == {victim["id"]}
    [old] = [row for row in cluster.ps("flapping", "--all") if row["id"] == victim["id"]]
    assert "health check failed 3 times" in old["error"], old
    assert get(port)[0] == 200
    assert cluster.run("rm", "flapping", "--wait").code == 0


def test_a_broken_network_is_repaired_and_told(cluster: Cluster) -> None:
    """In the node's own namespace: a task's link, then the whole ruleset."""
    web = Web("torn", free_port(), replicas=1)
    assert cluster.apply(web.text, "--wait").code == 0
    until(lambda: answers(web.port), "it serves")
    before = truth.processes(cluster)
    [task] = [row["id"] for row in cluster.ps("torn")]
    inside = ("nsenter", f"--net={cluster.run_folder}/node1/net/node")
    link = ("ip", "link", "del", f"t{task}0")
    for fault, told in ((link, f"Task {task} was"), (("nft", "flush", "ruleset"), "The nft table")):
        subprocess.run([*inside, *fault], check=True)
        until(lambda told=told: told in cluster.must("events", "node1").out, "told", 20)  # type: ignore[misc]
        until(lambda: answers(web.port), "it serves again")
    unchanged(cluster, before)
    assert cluster.run("rm", "torn", "--wait").code == 0
