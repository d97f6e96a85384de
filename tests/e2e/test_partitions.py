"""Nodes that hear each other in one direction only, or not at all, and links that are deleted:
what is heard decides, nothing is lost that could be reached, and everything is mended."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from examples.demo.load import Target, fetch
from tests.e2e import truth
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, get, ready
from tests.e2e.test_nodes import becomes, node, on, placed

pytestmark = pytest.mark.e2e

TABLE = "partition"
"""Of these tests, in the namespace of the switch between the nodes."""
Rule = tuple[str, str]
"""A port of the switch, and the node to which what comes in there is not passed on; '' = to
nobody."""
BETWEEN = [("node2", "node3"), ("node3", "node2")]


def nft(cluster: Cluster, *command: str) -> None:
    inside = ["nsenter", f"--net={cluster.run_folder / 'switch.netns'}"]
    subprocess.run([*inside, "nft", *command], check=True)


@contextlib.contextmanager
def dropped(cluster: Cluster, *rules: Rule) -> Iterator[None]:
    """The switch passes on nothing that one of the rules names."""
    nft(cluster, "add", "table", "netdev", TABLE)
    try:
        for port, to in rules:
            hook = f"{{ type filter hook ingress device {port} priority 0; }}"
            nft(cluster, "add", "chain", "netdev", TABLE, port, hook)
            match = ("ip", "daddr", str(node(cluster, to)["address"])) if to else ()
            nft(cluster, "add", "rule", "netdev", TABLE, port, *match, "drop")
        yield
    finally:
        nft(cluster, "delete", "table", "netdev", TABLE)


def answers(cluster: Cluster, at: str, port: int, count: int = 30) -> None:
    """Every one of some requests to a node's address is answered."""
    target = Target(str(node(cluster, at)["address"]), port)
    for _ in range(count):
        status, _, body = asyncio.run(fetch(target, "/"))
        assert status == 200, (at, status, body)


def starts(cluster: Cluster) -> dict[str, truth.Process]:
    """The first processes of all containers."""
    return {
        name: process
        for name, process in truth.processes(cluster).items()
        if "/b/" in name and not name.endswith("/conmon")
    }


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param([("node2", "")], id="dumb", marks=pytest.mark.soak),
        pytest.param([("host", "node2"), ("node3", "node2")], id="deaf"),
    ],
)
def test_a_node_that_is_heard_or_hears_no_more_is_lost_and_comes_back(
    three: Cluster, rules: list[Rule]
) -> None:
    web = Web("half", free_port(), replicas=3)
    assert three.apply(web.text, "--wait").code == 0
    [replaced] = on(placed(three, "half"), "node2")
    extra = truth.process(three.container_pid(replaced))
    assert extra is not None
    with dropped(three, *rules):
        becomes(three, "node2", "down")
        ready(three, "half", 3)
        assert not on(placed(three, "half"), "node2")
        assert extra.alive
        answers(three, "node1", web.port)
        answers(three, "node3", web.port)
    becomes(three, "node2", "ready")
    until(lambda: not extra.alive, "the extra task has been stopped", 10)
    ready(three, "half", 3)
    for name in ("node1", "node2", "node3"):
        answers(three, name, web.port)
    assert three.run("rm", "half", "--wait").code == 0


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(BETWEEN[:1], id="one way"),
        pytest.param(BETWEEN, id="both ways", marks=pytest.mark.soak),
    ],
)
def test_nodes_that_do_not_reach_each_other_but_the_manager_serve_what_they_reach(
    three: Cluster, rules: list[Rule]
) -> None:
    web = Web("between", free_port(), replicas=3)
    assert three.apply(web.text, "--wait").code == 0
    before, running = placed(three, "between"), starts(three)
    assert set(before.values()) == {"node1", "node2", "node3"}
    with dropped(three, *rules):
        for name in ("node1", "node2", "node3"):
            answers(three, name, web.port, 9)
        assert [node(three, n)["state"] for n in ("node2", "node3")] == ["ready", "ready"]
    assert placed(three, "between") == before
    assert starts(three) == running
    assert three.run("rm", "between", "--wait").code == 0


def links(cluster: Cluster, name: str, kind: str) -> list[str]:
    """The links of a kind in the data plane of a node."""
    place = cluster.run_folder / name / "net" / "node"
    found = subprocess.run(
        ["nsenter", f"--net={place}", "ip", "-o", "link", "show", "type", kind],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(line.split(": ")[1].partition("@")[0] for line in found.splitlines())


@pytest.mark.parametrize("kind", ["vxlan", "bridge"])
def test_a_link_that_was_deleted_is_there_again(three: Cluster, kind: str) -> None:
    web = Web("linked", free_port(), replicas=3)
    assert three.apply(web.text, "--wait").code == 0
    before, running = placed(three, "linked"), starts(three)
    had = links(three, "node2", kind)
    if not had:
        pytest.fail(f"there is no {kind} on node2")
    place = three.run_folder / "node2" / "net" / "node"
    for link in had:
        subprocess.run(["nsenter", f"--net={place}", "ip", "link", "del", link], check=True)
    until(lambda: links(three, "node2", kind) == had, f"{had} are there again", 10)

    def whole() -> bool:
        with contextlib.suppress(AssertionError, OSError, EOFError):
            for name in ("node1", "node2", "node3"):
                answers(three, name, web.port, 6)
            return True
        return False

    until(whole, "every node answers again", 10)
    assert placed(three, "linked") == before
    assert starts(three) == running
    assert get(web.port)[0] == 200
    assert three.run("rm", "linked", "--wait").code == 0
