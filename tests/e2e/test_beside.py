"""Two clusters on one machine, Docker beside them, firewalls of others: all work, none touches
what is not its own, and what cannot work is said.

The machine is a network namespace. The tests share it and leave it as they found it; the last
one takes the clusters down.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import beside, truth
from tests.e2e.beside import Machine
from tests.e2e.cluster import IMAGE, ROOT, Cluster, until
from tests.e2e.stacks import Web
from tests.e2e.test_embedded import ASK
from tests.fakes import docker
from tests.fakes.docker import PrivateDocker

pytestmark = pytest.mark.e2e

PORT = 18080
"""Of the first cluster; the second has the next one."""
FIREWALL = """
table inet foreign {
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept; }
  chain input { type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    tcp dport 22 accept; }
}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A machine with Docker and two clusters of three nodes each."""

    machine: Machine
    docker: PrivateDocker
    clusters: tuple[Cluster, Cluster]
    before: dict[str, object]
    """The machine with Docker and without the clusters."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Docker first, then both clusters at the same second, with one task on each node."""
    subprocess.run([str(ROOT / "scripts" / "docker")], check=True)
    folder = Path(tempfile.mkdtemp(prefix=f"stackd-e2e-{os.getpid()}-", dir="/var/tmp"))
    with beside.machine() as machine, docker.running(folder / "d", machine.place) as daemon:
        clusters = tuple(Cluster(folder / name / "data", machine.place) for name in "ab")
        made = Site(machine, daemon, (clusters[0], clusters[1]), machine.state())
        try:
            flags = ("--detach", "--nodes", "3", "--heartbeat", "1")
            at_once(lambda cluster: cluster.must("up", *flags), made)
            for number, cluster in enumerate(made.clusters):
                cluster.must("image", "load", "-i", str(IMAGE))
                web = Web("web", PORT + number, version=1 + number, replicas=3)
                assert cluster.apply(web.text, "--wait").code == 0
            yield made
        finally:
            at_once(Cluster.down, made)
    shutil.rmtree(folder)


def at_once(work: Callable[[Cluster], object], site: Site) -> None:
    """Do it for both clusters."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, site.clusters))


def talks(site: Site, number: int) -> str:
    """'' when everything works in a cluster: its published port, its tasks among each other on
    all nodes, each of them with what is outside the machine. Else what does not."""
    cluster = site.clusters[number]
    try:
        asked = ("curl", "-sS", "-m", "5", f"http://127.0.0.1:{PORT + number}/")
        if json.loads(site.machine.run(*asked))["version"] != str(1 + number):
            return "another cluster answers"
    except AssertionError as error:
        return str(error)
    rows = cluster.ps("web")
    ids = {row["id"] for row in rows}
    if len({row["node"] for row in rows}) != 3:
        return f"not on all nodes: {rows}"
    for row in rows:
        for script, expected in ((ASK, ids), (beside.TALK, {"heard"})):
            ran = cluster.run("exec", f"web/web.{row['slot']}", "--", "python3", "-c", script)
            if set(ran.out.split()) != expected:
                return f"{row['node']}: {ran.code} {ran.out} {ran.err}"
    return ""


def works(site: Site, seconds: float = 20) -> None:
    """Both clusters do, within so many seconds."""
    for number in (0, 1):
        last: list[str] = []

        def once(number: int = number, last: list[str] = last) -> bool:
            last.append(talks(site, number))
            return not last[-1]

        try:
            until(once, "it works", seconds)
        except AssertionError:
            raise AssertionError(f"cluster {number}: {last[-1]}") from None


def marks(site: Site, table: str) -> dict[str, int]:
    """How many rules for links of each cluster a foreign table holds."""
    lines = site.machine.run("nft", "list", "table", *table.split()).splitlines()
    return {c.id: sum(f'"{c.id}' in line for line in lines) for c in site.clusters}


def test_both_clusters_work_beside_docker(site: Site) -> None:
    works(site)
    assert "-P FORWARD DROP" in site.machine.run("iptables", "-S", "FORWARD")
    assert set(marks(site, "ip filter").values()) == {4}  # two links, both directions
    listed = site.machine.run("iptables", "-S", "DOCKER-USER")
    assert all(f"-A DOCKER-USER -i {c.id}s " in listed for c in site.clusters)
    doctor = site.clusters[0].run("doctor")
    assert "ok    foreign drops: ip filter DOCKER-USER drops packets; a cluster has" in doctor.out


@pytest.mark.soak
def test_rules_that_went_through_iptables_restore_are_still_ours(site: Site) -> None:
    """The next test makes Docker write its rules anew, as they were."""
    saved = site.machine.run("iptables-save")
    site.machine.run("iptables-restore", stdin=saved)
    site.machine.run("nft", "add", "table", "ip", "poke")  # both look
    site.machine.run("nft", "delete", "table", "ip", "poke")
    works(site)
    assert set(marks(site, "ip filter").values()) == {4}


@pytest.mark.soak
def test_docker_that_is_started_again_and_again(site: Site) -> None:
    """While it is away all rules are flushed: then it comes as if for the first time. On a machine
    that forwards already, Docker leaves the policy to others."""
    site.docker.end()
    site.docker.start()
    until(lambda: set(marks(site, "ip filter").values()) == {4}, "rules are back", 10)
    works(site)
    site.docker.end()
    site.machine.run("nft", "flush", "ruleset")
    until(lambda: all(restored(site, c) for c in site.clusters), "tables are back", 10)
    works(site)
    site.docker.start()
    works(site)
    site.machine.run("iptables", "-P", "FORWARD", "DROP")
    until(lambda: set(marks(site, "ip filter").values()) == {4}, "rules are there", 10)
    works(site)


def restored(site: Site, cluster: Cluster) -> bool:
    tables = site.machine.run("nft", "list", "tables")
    return len(re.findall(f"table ip stackd_{cluster.id}_([0-9]+|switch)\n", tables)) == 2


def test_a_firewall_that_drops_forwarded_and_new_packets(site: Site) -> None:
    site.machine.run("nft", "-f", "-", stdin=FIREWALL)
    try:
        # forward: two links, two directions; input: the uplink, and three ports at the switch
        until(lambda: set(marks(site, "inet foreign").values()) == {8}, "rules are there", 10)
        works(site)
        for verb in ("doctor", "up"):
            ran = site.clusters[0].run(verb, *(("--detach",) if verb == "up" else ()))
            [line] = [x for x in (ran.out + ran.err).splitlines() if "incoming traffic: " in x]
            control = json.loads((site.clusters[0].data / "cluster.json").read_text())[
                "control_port"
            ]
            assert f"inet foreign input shuts TCP {control}" in line
            assert f"nft 'insert rule inet foreign input tcp dport {control} accept'" in line
            assert "udp dport 4789 accept" in line
        site.machine.run("nft", "insert rule inet foreign input tcp dport 1024-65535 accept")
        site.machine.run("nft", "insert rule inet foreign input udp dport 4789 accept")
        assert "no other nftables chain shuts" in site.clusters[0].run("doctor").out
    finally:
        site.machine.run("nft", "delete", "table", "inet", "foreign")


def test_legacy_iptables_are_not_changed_and_their_drop_is_said(site: Site) -> None:
    site.machine.run("iptables-legacy", "-P", "FORWARD", "DROP")
    name = site.clusters[0].id
    try:
        [line] = [x for x in site.clusters[0].run("doctor").out.splitlines() if "legacy" in x]
        assert line.startswith("warn  legacy iptables: drops packets by policy (forward)")
        rules = line.rpartition("through: ")[2].rstrip(".").split("; ")
        assert rules == [
            f"iptables-legacy -I FORWARD -{way} {name}+ -j ACCEPT" for way in ("i", "o")
        ]
        assert talks(site, 0) != ""
        for rule in rules:
            site.machine.run(*rule.split())
        until(lambda: talks(site, 0) == "", "the remedy helps", 20)
        told = site.clusters[0].run("doctor").out
        assert "legacy iptables: in use; it lets the cluster's packets through." in told
    finally:
        site.machine.run("iptables-legacy", "-F", "FORWARD")
        site.machine.run("iptables-legacy", "-P", "FORWARD", "ACCEPT")


def test_purges_leave_docker_and_each_other_as_they_were(site: Site) -> None:
    ids = [cluster.id for cluster in site.clusters]
    first, second = site.clusters
    processes = truth.processes(second)
    first.down()
    left = site.machine.state()
    assert ids[0] not in str(left)
    until(lambda: talks(site, 1) == "", "the other works", 20)
    assert truth.processes(second) == processes
    second.down()
    after = site.machine.state()
    for part, was in site.before.items():
        assert after[part] == was, part
    until(lambda: not any(any(truth.traces(i).values()) for i in ids), "nothing is left", 10)
