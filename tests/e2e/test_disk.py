"""A disk without room and one without inodes under everything that stackd keeps: what runs is
unharmed, nothing acknowledged is lost, the cause is told, and all goes on when there is room."""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import truth
from tests.e2e.cluster import IMAGE, Cluster, Ran, free_port, until
from tests.e2e.stacks import Web, get, ready

pytestmark = pytest.mark.e2e

FULL = ("No space left", "disk is full", "is full", "no room for more files")
SERVICES = ("supervisor", "manager", "node1/agent", "node1/spawner", "node1/envoy-keeper")


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system in memory that holds all of a cluster's data; `limit` is what it runs out
    of: size (bytes) or nr_inodes."""

    place: Path
    limit: str

    def room(self, number: int) -> None:
        """Limit it to this."""
        options = f"remount,{self.limit}={number}"
        subprocess.run(["mount", "-o", options, str(self.place)], check=True)

    def fill(self) -> None:
        """Leave no room at all."""
        found = os.statvfs(self.place)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        self.room(used if self.limit == "size" else found.f_files - found.f_ffree)

    def free(self) -> None:
        """Plenty of room again."""
        self.room(1 << 30 if self.limit == "size" else 1 << 16)


@contextlib.contextmanager
def below(cluster: Cluster, limit: str) -> Iterator[Disk]:
    """A disk of its own for a cluster that is not up yet."""
    place = cluster.data.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(place)], check=True)
    made = Disk(place, limit)
    made.free()
    try:
        yield made
    finally:
        made.free()
        cluster.down()
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def create(cluster: Cluster, number: int) -> bool:
    """A config of half a megabyte; whether it was acknowledged, and if not, that it says why."""
    ran = cluster.run("config", "create", f"c{number}", "-", stdin=os.urandom(180_000).hex())
    assert ran.code in (0, 1), ran.err
    assert ran.code == 0 or any(word in ran.err for word in FULL), ran.err
    return ran.code == 0


def configs(cluster: Cluster) -> set[str]:
    rows = cluster.must("config", "ls", "-o", "json").json
    return {row["name"] for row in rows}


def same(cluster: Cluster, before: dict[str, truth.Process], *names: str) -> None:
    now = truth.processes(cluster)
    assert {n: now.get(n) for n in names} == {n: before[n] for n in names}


def told(ran: Ran) -> bool:
    """Whether the answer says that the disk is full."""
    return any(word in ran.out + ran.err for word in FULL)


def asked(cluster: Cluster) -> None:
    """Whoever asks is told."""
    for ask in (("why", "full"), ("status", "full"), ("why", "node1")):
        until(lambda ask=ask: told(cluster.run(*ask)), f"{ask} tells it", 15)  # type: ignore[misc]
    until(lambda: "node node1: disk:" in cluster.run("why", "node1").out, "the node tells it", 15)


def over(cluster: Cluster) -> None:
    """It is over, and the events tell of it once the store takes them again."""
    until(lambda: not told(cluster.run("why", "full")), "it is over")
    for kind in ("node.trouble", "node.recovered"):
        until(lambda kind=kind: kind in cluster.must("events", "node1").out, kind, 20)  # type: ignore[misc]


def test_a_full_disk(fresh: Cluster) -> None:
    with below(fresh, "size") as disk:
        full_disk(fresh, disk)


def full_disk(cluster: Cluster, disk: Disk) -> None:
    cluster.must("up", "--detach")
    disk.fill()
    loaded = cluster.run("image", "load", "-i", str(IMAGE))
    assert loaded.code == 1, loaded
    assert told(loaded), loaded
    disk.free()
    cluster.must("image", "load", "-i", str(IMAGE))
    web = Web("full", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    until(lambda: "node1/envoy-keeper" in truth.processes(cluster), "the ingress runs")
    before = truth.processes(cluster)
    disk.fill()
    kept = {f"c{n}" for n in itertools.takewhile(lambda n: create(cluster, n), range(40))}
    refused = cluster.apply(Web("full", web.port, 2).text)
    assert refused.code == 1
    assert told(refused), refused
    [victim, other] = [row["id"] for row in cluster.ps("full")]
    before[f"node1/b/{victim}"].kill()
    asked(cluster)
    assert get(web.port)[0] == 200
    unharmed = (*SERVICES, f"node1/b/{other}", f"node1/b/{other}/conmon")
    same(cluster, before, *unharmed)
    disk.free()
    until(lambda: victim not in {row["id"] for row in cluster.ps("full")}, "its end is known")
    ready(cluster, "full", 2)
    same(cluster, before, *unharmed)
    assert kept <= configs(cluster)
    over(cluster)
    assert cluster.apply(Web("full", web.port, 2).text, "--wait").code == 0


@pytest.mark.soak
def test_no_inodes(fresh: Cluster) -> None:
    with below(fresh, "nr_inodes") as disk:
        no_inodes(fresh, disk)


def no_inodes(cluster: Cluster, disk: Disk) -> None:
    """What is written into files that are there is written; a task that needs new ones waits."""
    cluster.up()
    web = Web("full", free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    until(lambda: "node1/envoy-keeper" in truth.processes(cluster), "the ingress runs")
    before = truth.processes(cluster)
    disk.fill()
    changed = cluster.apply(Web("full", web.port, 2).text)
    assert changed.code == 0 or told(changed), changed
    asked(cluster)
    if changed.code == 0:
        until(lambda: any(told_row(row) for row in cluster.ps("full")), "the new task tells it")
    assert get(web.port)[0] == 200
    same(cluster, before, *before)
    disk.free()
    over(cluster)
    if changed.code:
        assert cluster.apply(Web("full", web.port, 2).text).code == 0
    assert cluster.run("wait", "full", "--timeout", "60s").code == 0
    same(cluster, before, *SERVICES)


def told_row(row: dict[str, Any]) -> bool:
    return any(word in row["error"] for word in FULL)
