"""The wall clock of the manager or of an agent jumps by a day while it runs and between two of its
lives, forwards and backwards: nothing is restarted, and everything goes on."""

import json
from pathlib import Path

import pytest

from tests.e2e import truth
from tests.e2e.clocks import Clocks
from tests.e2e.cluster import IMAGE, Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready
from tests.e2e.test_faults import answers, kill, tasks, unchanged

pytestmark = pytest.mark.e2e

DAY = 86_400.0


def test_clocks_jump(fresh: Cluster, tmp_path: Path) -> None:
    clocks = Clocks(tmp_path)
    started = fresh.run("up", "--detach", env=clocks.env)
    assert started.code == 0, started.err
    fresh.must("image", "load", "-i", str(IMAGE))
    web = Web("timed", free_port())
    assert fresh.apply(web.text, "--wait").code == 0
    until(lambda: answers(web.port), "it serves")
    jump(fresh, clocks, {"manager": DAY})  # the node's clock is a day behind now
    replaced(fresh)
    jump(fresh, clocks, {"manager": -DAY, "agent": DAY})
    rolled = fresh.apply(Web("timed", web.port, version=2).text, "--wait", "--timeout", "60s")
    assert rolled.code == 0, rolled
    until(lambda: get(web.port)[0] == 200, "it serves")


def jump(cluster: Cluster, clocks: Clocks, ahead: dict[str, float]) -> None:
    """While they run, then with new processes that begin on the new time."""
    before = truth.processes(cluster)
    known = [row["id"] for row in events(cluster)]
    for kind, seconds in ahead.items():
        clocks.ahead(kind, seconds)
    ready(cluster, "timed", 2)
    unchanged(cluster, before)
    names = {"manager": "manager", "agent": "node1/agent"}
    killed = [names[kind] for kind in ahead]
    for name in killed:
        kill(cluster, name)
    until(lambda: cluster.run("ps").code == 0, "the manager answers")
    ready(cluster, "timed", 2)
    until(lambda: node(cluster) == "ready", "the node is ready")
    unchanged(cluster, before, *killed)
    now = [row["id"] for row in events(cluster)]
    assert now[: len(known)] == known, "what happened before comes first"


def events(cluster: Cluster) -> list[dict[str, str]]:
    lines = cluster.must("events", "-o", "json").out.splitlines()
    return [json.loads(line) for line in lines]


def node(cluster: Cluster) -> str:
    [row] = cluster.must("node", "ls", "-o", "json").json
    return str(row["state"])


def replaced(cluster: Cluster) -> None:
    """A task that ends twice is replaced twice: at once, then after its delay."""
    for _ in range(2):
        [victim] = [row["id"] for row in cluster.ps("timed") if row["slot"] == 1]
        truth.processes(cluster)[f"node1/b/{victim}"].kill()
        until(lambda victim=victim: victim not in tasks(cluster, "timed"), "ended")  # type: ignore[misc]
        ready(cluster, "timed", 2)
