"""Nodes that are killed, cut off, drained: what runs then, where, and what is left when they are
back. The cluster loses a node after 3 s (heartbeat 1 s)."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from examples.demo.load import Tally, Target, fetch
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready
from tests.e2e.test_lossless import load, nothing_lost, off

pytestmark = pytest.mark.e2e

EVERYWHERE = """  agent:
    image: stackd-demo:1
    deploy: {mode: global}
"""
KEPT = """
name: kept
services:
  db:
    image: stackd-demo:1
    volumes: [data:/data]
    deploy: {placement: {constraints: [node.hostname == node3]}}
volumes: {data: }
"""


def node(cluster: Cluster, name: str) -> dict[str, Any]:
    [row] = cluster.must("node", "inspect", name, "-o", "json").json
    assert isinstance(row, dict)
    return row


def becomes(cluster: Cluster, name: str, state: str) -> None:
    until(lambda: node(cluster, name)["state"] == state, f"{name} is {state}", 30)


@contextlib.contextmanager
def broken(cluster: Cluster, name: str, how: str, mend: str) -> Iterator[None]:
    """A node that is killed or cut off; mended at the end if it is not yet."""
    cluster.must("rehearse", how, name)
    try:
        yield
    finally:
        cluster.must("rehearse", mend, name)
        becomes(cluster, name, "ready")


def placed(cluster: Cluster, stack: str) -> dict[str, str]:
    """Task id -> node."""
    return {row["id"]: row["node"] for row in cluster.ps(stack)}


def on(tasks: dict[str, str], name: str) -> set[str]:
    return {task for task, where in tasks.items() if where == name}


def runs(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def answers(port: int, count: int = 30) -> None:
    """Every one of some requests is answered."""
    assert [get(port)[0] for _ in range(count)] == [200] * count


def test_what_a_killed_node_had_runs_elsewhere_and_its_return_adds_nothing(three: Cluster) -> None:
    web = Web("killed", free_port(), replicas=3)
    assert three.apply(web.text + EVERYWHERE, "--wait").code == 0
    before = placed(three, "killed")
    [gone] = on({r["id"]: r["node"] for r in three.ps("killed/web")}, "node2")
    start = time.monotonic()
    with broken(three, "node2", "kill", "start"):
        becomes(three, "node2", "down")
        ready(three, "killed/web", 3)
        print(f"elsewhere after {time.monotonic() - start:.1f} s")
        now = placed(three, "killed/web")
        assert not on(now, "node2")
        assert gone not in now
        untouched = {task for task, where in before.items() if where != "node2"}
        assert untouched <= placed(three, "killed").keys()
        answers(web.port)
    rows = ready(three, "killed", 6)
    assert {row["id"]: row["node"] for row in rows if row["service"] == "web"} == now
    assert {row["node"] for row in rows if row["service"] == "agent"} == {
        "node1",
        "node2",
        "node3",
    }
    answers(web.port)
    assert three.run("rm", "killed", "--wait").code == 0


def test_a_cut_node_runs_on_and_afterwards_only_what_it_should(three: Cluster) -> None:
    web = Web("cut", free_port(), replicas=3)
    assert three.apply(web.text + EVERYWHERE, "--wait").code == 0
    before = placed(three, "cut")
    [replaced] = on(placed(three, "cut/web"), "node3")
    [kept] = on(placed(three, "cut/agent"), "node3")
    extra, own = three.container_pid(replaced), three.container_pid(kept)
    with broken(three, "node3", "cut", "heal"):
        becomes(three, "node3", "down")
        ready(three, "cut/web", 3)
        assert replaced not in placed(three, "cut/web")
        assert runs(extra)
        assert runs(own)
        answers(web.port)
    until(lambda: not runs(extra), "the extra task has been stopped", 10)
    after = {row["id"]: row["node"] for row in ready(three, "cut", 6)}
    assert kept in after
    assert runs(own)
    assert before.keys() - {replaced} <= after.keys()
    [row] = [row for row in three.ps("cut", "--all") if row["id"] == replaced]
    assert row["state"] == "orphaned"
    answers(web.port)
    assert three.run("rm", "cut", "--wait").code == 0


def test_a_short_gap_restarts_nothing(three: Cluster) -> None:
    web = Web("gap", free_port(), replicas=3)
    assert three.apply(web.text, "--wait").code == 0
    before = placed(three, "gap")
    with broken(three, "node2", "cut", "heal"):
        time.sleep(2)  # the gap itself; three are too many
    ready(three, "gap", 3)
    assert placed(three, "gap") == before
    assert three.run("rm", "gap", "--wait").code == 0


def test_a_drain_loses_nothing_and_activating_undoes_it(three: Cluster) -> None:
    web = Web("drained", free_port(), replicas=3)
    assert three.apply(web.text, "--wait").code == 0
    before = placed(three, "drained")

    async def scenario() -> Tally:
        async with load(web.port) as tally:
            ran = await off(three.run, "node", "drain", "node2", "--wait", "--timeout", "100s")
            assert ran.code == 0, ran.out + ran.err
            assert "nothing is left on it" in ran.out
        return tally

    try:
        nothing_lost(asyncio.run(scenario()), "1")
        after = placed(three, "drained")
        assert not on(after, "node2")
        assert on(before, "node1") | on(before, "node3") <= after.keys()
        assert node(three, "node2")["availability"] == "drain"
    finally:
        three.must("node", "activate", "node2")
    assert three.run("scale", "drained/web=6").code == 0
    ready(three, "drained", 6)
    assert on(placed(three, "drained"), "node2")
    assert three.run("rm", "drained", "--wait").code == 0


def test_what_a_leaving_task_still_answers_is_counted_on_all_nodes(three: Cluster) -> None:
    there = "      placement: {constraints: [node.hostname == node2]}\n"
    web = Web("counted", free_port(), replicas=1, deploy=there)
    assert three.apply(web.text, "--wait").code == 0
    [old] = three.ps("counted")
    hosts = {name: node(three, name)["address"] for name in ("node1", "node3")}
    ways = [hosts["node1"]] * 2 + [hosts["node3"]] * 3

    async def scenario() -> list[int]:
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(fetch(Target(way, web.port), "/slow?seconds=8")) for way in ways
            ]
            await asyncio.sleep(0.5)
            changed = Web("counted", web.port, 2, 1, deploy=there)
            assert (await off(three.apply, changed.text)).code == 0
            await off(until, lambda: leaving() == len(ways), "five are shown in flight", 8)
        return [task.result()[0] for task in asked]

    def leaving() -> int:
        rows = {row["id"]: row for row in three.ps("counted")}
        return int(rows[old["id"]]["in_flight"]) if old["id"] in rows else 0

    assert asyncio.run(scenario()) == [200] * len(ways)
    assert three.run("rm", "counted", "--wait").code == 0


def test_a_slot_stays_with_its_volume_and_says_so(three: Cluster) -> None:
    assert three.apply(KEPT, "--wait").code == 0
    [row] = three.ps("kept")
    pid = three.container_pid(row["id"])
    try:
        ran = three.run("node", "drain", "node3", "--wait", "--timeout", "30s")
        assert ran.code == 3
        assert "kept/db.1: its volume kept_data is on node3" in ran.out
        assert runs(pid)
    finally:
        three.must("node", "activate", "node3")
    with broken(three, "node3", "cut", "heal"):
        becomes(three, "node3", "down")
        assert placed(three, "kept") == {row["id"]: "node3"}
        told = three.must("why", "kept").out
        assert "its node is down" in told, told
    ready(three, "kept", 1)
    assert runs(pid)
    assert three.run("rm", "kept", "--wait", "--volumes").code == 0
