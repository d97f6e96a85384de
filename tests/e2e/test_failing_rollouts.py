"""Rollouts that must fail: the task and `why` say so in one sentence, the deadline expires, the
rollout goes back, the new revision is held, and the old one serves on without loss."""

import asyncio
import contextlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from examples.demo.load import Load, Tally, Target
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import get

pytestmark = pytest.mark.e2e

SERVICE = """
  NAME:
    image: stackd-demo:1
    ports: [{target: 8080, published: PORT, app_protocol: http}]
    healthcheck: {http: {path: /healthz, port: 8080}, interval: 1s}
    deploy:
      resources: {limits: {memory: 64M}}
      strategy: {type: rolling, monitor: 500ms, progress_deadline: DEADLINE}
"""


@dataclass(frozen=True, slots=True)
class Bad:
    """A change of the good service that cannot work, and what is said of it."""

    said: str
    add: str
    """Lines put before `ports`."""
    without: str = ""
    """A line that is taken away."""
    deadline: str = "60s"


CASES = {
    "no-such-command": Bad("is not in the image", "    entrypoint: [/no/such]\n"),
    "never-healthy": Bad(
        "health check", "    environment: {DEMO_NEVER_HEALTHY: 1}\n", deadline="12s"
    ),
    "crash-loop": Bad("exit code 3", "    entrypoint: [sh, -c, exit 3]\n"),
    "local-only": Bad(
        "127.0.0.1", "    environment: {DEMO_LISTEN_LOCAL: 1}\n", "    healthcheck", "12s"
    ),
    "out-of-memory": Bad(
        "out of memory", "    entrypoint: [python3, -c, 'x = bytearray(300_000_000)']\n"
    ),
}


def good(name: str, port: int, deadline: str) -> str:
    text = SERVICE.replace("NAME", name).replace("PORT", str(port))
    return text.replace("DEADLINE", deadline)


def worse(text: str, bad: Bad) -> str:
    """The service as it cannot work."""
    lines = [
        line
        for line in text.splitlines(keepends=True)
        if not (bad.without and line.startswith(bad.without))
    ]
    return "".join(lines).replace("    ports", f"{bad.add}    ports", 1)


def test_rollouts_that_fail_go_back_and_serve_on(cluster: Cluster) -> None:
    """All kinds at once, each a service of one stack."""
    ports = {name: free_port() for name in CASES}
    services = {name: good(name, ports[name], bad.deadline) for name, bad in CASES.items()}
    head = "name: held\nservices:\n"
    assert cluster.apply(head + "".join(services.values()), "--wait").code == 0
    before = {row["id"] for row in cluster.ps("held")}
    changed = head + "".join(worse(services[name], bad) for name, bad in CASES.items())

    def settled() -> bool:
        return all(s["phase"] == "aborted" for s in cluster.status("held")["services"])

    async def scenario() -> list[Tally]:
        async with contextlib.AsyncExitStack() as loads:
            tallies = [
                await loads.enter_async_context(Load(Target("127.0.0.1", port), 20).running())
                for port in ports.values()
            ]
            ran = await asyncio.to_thread(lambda: cluster.apply(changed, "--wait"))
            assert ran.code == 2, (ran.code, ran.out, ran.err)
            await asyncio.to_thread(until, settled, "all have gone back")
        return tallies

    tallies = asyncio.run(scenario())
    assert [t.lost for t in tallies] == [[]] * len(ports)
    assert {version for t in tallies for version in t.versions} == {"1"}
    assert {row["id"] for row in cluster.ps("held")} == before
    rows = cluster.ps("held", "--all")
    for service in cluster.status("held")["services"]:
        bad = CASES[service["service"]]
        assert "refused" in service["reason"], service
        assert bad.said in service["reason"], service
        assert service["hold"]
        assert bad.said in cluster.must("why", f"held/{service['service']}").out
        failed = [r for r in rows if r["service"] == service["service"] and r["id"] not in before]
        assert any(bad.said in row["error"] for row in failed), failed
    assert cluster.run("wait", "held").code == 2
    assert cluster.run("rm", "held", "--wait").code == 0


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
    assert "127.0.0.1:1 refuses connections" in ran.err
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
        text = "name: taken\nservices:\n" + good("web", port, "6s")
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


def test_no_address_left_stops_a_rollout_and_the_rest_serves_on(cluster: Cluster) -> None:
    """Taken by others in the middle of it, when the plan had found enough."""
    port = free_port()
    text = f"""
name: narrow
services:
  filler:
    image: stackd-demo:1
    entrypoint: [sleep, infinity]
    stop_signal: SIGKILL
    networks: [small]
  web:
    image: stackd-demo:VERSION
    ports: [{{target: 8080, published: {port}, app_protocol: http}}]
    healthcheck: {{http: {{path: /healthz, port: 8080}}, interval: 1s}}
    networks: [small]
    deploy:
      replicas: 2
      strategy:
        {{type: rolling, delay: 4s, monitor: 300ms, progress_deadline: 6s, on_failure: pause}}
networks:
  small: {{ipam: {{config: [{{subnet: 198.51.100.0/26}}]}}}}
"""
    assert cluster.apply(text.replace("VERSION", "1"), "--wait").code == 0
    before = {row["id"] for row in cluster.ps("narrow/web")}
    assert cluster.apply(text.replace("VERSION", "2")).code == 0
    until(lambda: {r["id"] for r in cluster.ps("narrow/web")} - before, "it has begun")
    cluster.must("scale", "narrow/filler=40")
    until(lambda: cluster.status("narrow/web")["phase"] == "paused", "it stops")
    told = cluster.must("why", "narrow/web").out
    assert "no progress for 6s" in told, told
    assert "address" in told, told
    assert cluster.run("wait", "narrow/web").code == 3
    assert [get(port)[0] for _ in range(10)] == [200] * 10
    assert before & {row["id"] for row in cluster.ps("narrow/web")}
    cluster.must("scale", "narrow/filler=1")
    until(lambda: len(cluster.ps("narrow/filler")) == 1, "there is room")
    cluster.must("resume", "narrow/web")
    assert cluster.run("wait", "narrow/web").code == 0
    assert cluster.run("rm", "narrow", "--wait").code == 0
