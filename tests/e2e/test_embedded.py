"""Several nodes on one machine: the ways between them, nodes added, everything removed."""

import json
import socket
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import truth
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready

pytestmark = pytest.mark.e2e

ASK = """
import socket
def ask():
    s = socket.create_connection(("web", 8080), 5)
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: web\\r\\nConnection: close\\r\\n\\r\\n")
    data = b""
    while chunk := s.recv(4096):
        data += chunk
    return data.split(b'"host": "')[1][:12].decode()
print(*{ask() for _ in range(60)})
"""
EVERYWHERE = """  probe:
    image: stackd-demo:1
    deploy: {mode: global}
"""
ZONED = """  zoned:
    image: stackd-demo:1
    entrypoint: [sleep, infinity]
    stop_signal: SIGKILL
    deploy:
      replicas: 4
      update_config: {monitor: 0s}
      placement: {preferences: [{spread: node.labels.zone}]}
"""
ZONES = {"node1": "a", "node2": "a", "node3": "b"}


def nodes(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in cluster.must("node", "ls", "-o", "json").json}


def in_node(cluster: Cluster, name: str, *argv: str) -> str:
    """The output of a command inside the namespace that is the node's host."""
    place = cluster.run_folder / f"{name}.netns"
    whole = ["nsenter", f"--net={place}", *argv]
    return subprocess.run(whole, capture_output=True, text=True, check=True).stdout


def zones(cluster: Cluster) -> list[str]:
    return sorted(ZONES[row["node"]] for row in cluster.ps("across/zoned"))


def test_tasks_are_spread_and_reach_each_other(three: Cluster) -> None:
    """Over the nodes, and by preference over a label; also after an update."""
    for name, zone in ZONES.items():
        three.must("node", "label", name, f"zone={zone}")
    text = Web("across", free_port(), replicas=3).text + EVERYWHERE + ZONED
    assert three.apply(text, "--wait").code == 0
    assert zones(three) == ["a", "a", "b", "b"]
    assert three.apply(text.replace("[sleep, infinity]", "[sleep, '9999']"), "--wait").code == 0
    assert zones(three) == ["a", "a", "b", "b"]
    rows = [row for row in three.ps("across") if row["service"] == "web"]
    assert {row["node"] for row in rows} == {"node1", "node2", "node3"}
    ids = {row["id"] for row in rows}
    for name in nodes(three):
        seen = three.must("exec", f"across/probe.{name}", "--", "python3", "-c", ASK).out
        assert set(seen.split()) == ids, f"from {name}"
        three.must("node", "label", name, "zone-")
    assert three.run("rm", "across", "--wait").code == 0


def test_every_node_answers_on_a_published_port(three: Cluster) -> None:
    web = Web(
        "anywhere",
        free_port(),
        replicas=1,
        deploy="      placement: {constraints: [node.hostname == node3]}\n",
    )
    assert three.apply(web.text, "--wait").code == 0
    [row] = three.ps("anywhere")
    assert row["node"] == "node3"
    assert json.loads(get(web.port)[1])["host"] == row["id"]
    for name, node in nodes(three).items():
        with socket.create_connection((node["address"], web.port), 5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(partial(connection.recv, 4096), b""))
        assert row["id"].encode() in answer, name
    assert three.run("rm", "anywhere", "--wait").code == 0


def test_each_node_is_a_host_of_its_own(three: Cluster) -> None:
    three.must("ps")
    own = {
        name: json.loads(in_node(three, name, "ip", "-j", "-4", "addr", "show", "eth0"))
        for name in ("node2", "node3")
    }
    for name, links in own.items():
        assert [a["local"] for a in links[0]["addr_info"]] == [nodes(three)[name]["address"]]
    listening = in_node(three, "node2", "ss", "-Hltn")
    assert (
        f":{json.loads((three.data / 'cluster.json').read_text())['control_port']}" not in listening
    )
    tables = {in_node(three, name, "nft", "list", "tables") for name in own}
    assert len(tables) == len(own)


def test_nodes_are_added_to_a_cluster_and_purged(fresh: Cluster) -> None:
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    fresh.up()
    web = Web("growing", free_port())
    assert fresh.apply(web.text + EVERYWHERE, "--wait").code == 0
    before = truth.processes(fresh)
    fresh.must("up", "--detach", "--nodes", "2")
    unchanged = {k: v for k, v in before.items() if k != "supervisor"}
    assert unchanged.items() <= truth.processes(fresh).items()
    ready(fresh, "growing", 4)
    assert [r["node"] for r in fresh.ps("growing") if r["slot"] == "node2"] == ["node2"]
    fewer = fresh.run("up", "--detach", "--nodes", "1")
    assert (fewer.code, "has 2 nodes" in fewer.err) == (1, True)
    fresh.must("rehearse", "kill", "node2")
    until(lambda: not fresh_traces(fresh, "node2"), "node2 is off")
    name = fresh.id
    fresh.must("down", "--purge")
    left = {k: v for k, v in truth.traces(name, str(fresh.data)).items() if v}
    until(lambda: not any(truth.traces(name, str(fresh.data)).values()), f"left: {left}", 10)
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == forward


def fresh_traces(cluster: Cluster, node: str) -> list[str]:
    return [line for line in truth.mentions(cluster.id) if node in line.split()]
