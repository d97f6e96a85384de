"""Rollouts that must fail: the task and `why` say so in one sentence, the deadline expires, the
rollout goes back, the new revision is held, and the old one serves on without loss."""

import asyncio
import contextlib
import http.server
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from examples.demo.load import Load, Tally, Target
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import get, ready

pytestmark = pytest.mark.e2e

GOOD = """
name: NAME
services:
  web:
    image: stackd-demo:1
    ports: [{target: 8080, published: PORT, app_protocol: http}]
    healthcheck: {http: {path: /healthz, port: 8080}, interval: 1s}
    deploy:
      replicas: 2
      strategy: {type: rolling, monitor: 500ms, progress_deadline: DEADLINE}
"""


@dataclass(frozen=True, slots=True)
class Bad:
    """A change of the good stack that cannot work, and what is said of it."""

    change: str
    to: str
    said: str
    deadline: str = "60s"


CASES = {
    "no such command": Bad(
        "stackd-demo:1\n", "stackd-demo:2\n    entrypoint: [/no/such]\n", "is not in the image"
    ),
    "never healthy": Bad(
        "stackd-demo:1\n",
        "stackd-demo:2\n    environment: {DEMO_NEVER_HEALTHY: 1}\n",
        "health check",
        deadline="12s",
    ),
    "crash loop": Bad(
        "stackd-demo:1\n", "stackd-demo:2\n    entrypoint: [sh, -c, exit 3]\n", "exit code 3"
    ),
    "listens on 127.0.0.1 only": Bad(
        "    healthcheck: {http: {path: /healthz, port: 8080}, interval: 1s}\n",
        "    environment: {DEMO_LISTEN_LOCAL: 1}\n",
        "127.0.0.1",
        deadline="12s",
    ),
    "out of memory": Bad(
        "stackd-demo:1\n",
        "stackd-demo:2\n    entrypoint: [python3, -c, 'x = bytearray(300_000_000)']\n",
        "out of memory",
    ),
}


@contextlib.asynccontextmanager
async def load(port: int) -> AsyncIterator[Tally]:
    async with Load(Target("127.0.0.1", port), 50).running() as tally:
        yield tally


@pytest.mark.parametrize("case", list(CASES))
def test_goes_back_and_serves_on(cluster: Cluster, case: str) -> None:
    bad, port, name = CASES[case], free_port(), "held"
    good = GOOD.replace("NAME", name).replace("PORT", str(port)).replace("DEADLINE", bad.deadline)
    if case == "out of memory":
        good = good.replace(
            "      replicas", "      resources: {limits: {memory: 48M}}\n      replicas"
        )
    assert bad.change in good
    assert cluster.apply(good, "--wait").code == 0
    before = {row["id"] for row in cluster.ps(name)}

    async def scenario() -> Tally:
        async with load(port) as tally:
            ran = await asyncio.to_thread(
                lambda: cluster.apply(good.replace(bad.change, bad.to), "--wait")
            )
            assert ran.code == 2, (ran.code, ran.out, ran.err)
        return tally

    tally = asyncio.run(scenario())
    assert not tally.lost, tally.lost[:5]
    assert set(tally.versions) == {"1"}
    [service] = cluster.status(name)["services"]
    assert service["phase"] == "aborted"
    assert "refused" in service["reason"], service
    assert bad.said in service["reason"], service
    assert service["hold"]
    assert bad.said in cluster.must("why", f"{name}/web").out
    assert {row["id"] for row in cluster.ps(name)} >= before
    failed = [r for r in cluster.ps(name, "--all") if r["id"] not in before]
    assert any(bad.said in row["error"] for row in failed), failed
    assert cluster.run("wait", name).code == 2
    ready(cluster, name, 2)
    assert cluster.run("rm", name, "--wait").code == 0


def test_first_rollout_that_fails_is_degraded_and_tried_again_later(cluster: Cluster) -> None:
    text = """
name: unborn
services:
  web:
    image: stackd-demo:1
    entrypoint: [sh, -c, exit 4]
    deploy: {strategy: {type: rolling, monitor: 500ms, progress_deadline: 20s}}
"""
    ran = cluster.apply(text, "--wait", "--timeout", "60s")
    assert ran.code == 2, (ran.code, ran.out, ran.err)
    [service] = cluster.status("unborn")["services"]
    assert service["phase"] == "degraded"
    assert "exit code 4" in cluster.must("why", "unborn/web").out
    assert cluster.apply(text.replace("exit 4", "sleep 1000"), "--wait").code == 0
    assert cluster.status("unborn")["phase"] == "healthy"
    assert cluster.run("rm", "unborn", "--wait").code == 0


def test_image_that_is_nowhere(cluster: Cluster) -> None:
    """Nothing listens there, so the answer is quick without any network."""
    image = "127.0.0.1:1/no/such:1"
    ran = cluster.apply(f"services: {{web: {{image: '{image}'}}}}", name="nowhere")
    assert ran.code == 1
    assert "127.0.0.1:1/no/such" in ran.err
    assert "Traceback" not in ran.err
    assert cluster.run("status", "nowhere").code == 1


def test_reservation_that_no_node_can_hold(cluster: Cluster) -> None:
    text = """
name: huge
services:
  web:
    image: stackd-demo:1
    deploy: {resources: {reservations: {memory: 900G}}}
"""
    plan = cluster.run("plan", "-f", "-", stdin=text)
    ran = cluster.apply(text)
    assert (plan.code, ran.code) == (1, 1), (plan.out, plan.err, ran.err)
    assert "memory" in ran.err


def test_network_without_an_address_left(cluster: Cluster) -> None:
    text = """
name: narrow
services:
  web:
    image: stackd-demo:1
    networks: [tiny]
    deploy: {replicas: 60}
networks:
  tiny: {ipam: {config: [{subnet: 10.251.7.0/26}]}}
"""
    ran = cluster.apply(text)
    assert ran.code == 1, ran.out
    assert "address" in ran.err


@contextlib.contextmanager
def foreign_listener() -> Iterator[int]:
    """This test process holds a port, as any program of the machine may."""
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_port_taken_by_a_stranger_is_served_once_it_is_free(cluster: Cluster) -> None:
    holder = f"(pid {os.getpid()})"
    with foreign_listener() as port:
        text = GOOD.replace("NAME", "taken").replace("PORT", str(port)).replace("DEADLINE", "6s")
        ran = cluster.apply(text, "--wait")
        assert ran.code == 2, (ran.code, ran.out, ran.err)
        assert holder in ran.out + ran.err
        why = cluster.must("why", "taken/web").out
        assert f"Port {port} is held by" in why
        assert holder in why
        assert cluster.status("taken")["phase"] == "degraded"
    until(lambda: answers(port), "the port is served once it is free")
    until(lambda: cluster.status("taken")["phase"] == "healthy", "the stack is healthy")
    assert cluster.run("rm", "taken", "--wait").code == 0


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, EOFError):
        return get(port)[0] == 200
    return False
