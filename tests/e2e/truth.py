"""What is really there: processes of a cluster from pid files and /proc, and everything a cluster
leaves on a machine, read from the kernel and never from stackd. Used by the tests of faults and
of purging."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster import Cluster

HIERARCHIES = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that no other can be taken for: the kernel's start time makes a pid unique."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return process(self.pid) == self

    def kill(self) -> None:
        """SIGKILL, if it is still this one."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)


def process(pid: int) -> Process | None:
    """The process with this pid; None when there is none or it is a zombie."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]))


def processes(cluster: Cluster) -> dict[str, Process]:
    """Every live process of a cluster by the name of its pid file: `manager`, `node1/agent`,
    `node1/b/TASK/conmon`, `node1/b/TASK` (the container's first process) …"""
    found = {}
    for path in [*cluster.run_folder.rglob("*.pid"), *cluster.run_folder.glob("*/b/*/pidfile")]:
        try:
            live = process(int(path.read_text()))
        except (FileNotFoundError, ValueError):
            continue
        name = str(path.relative_to(cluster.run_folder)).removesuffix(".pid")
        if live is not None:
            found[name.removesuffix("/pidfile")] = live
    return found


def mentions(*words: str) -> list[str]:
    """Command lines of all live processes that hold one of the words."""
    return list(mentioning(*words).values())


def mentioning(*words: str) -> dict[int, str]:
    """The same by pid."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word in line for word in words) and int(path.parent.name) != os.getpid():
            found[int(path.parent.name)] = line
    return found


def _lines(*argv: str) -> set[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def _names(folder: Path) -> set[str]:
    return {str(path) for path in folder.iterdir()} if folder.is_dir() else set()


def traces(*words: str) -> dict[str, set[str]]:
    """Everything on this machine that holds one of the words: a cluster's id, its folder."""

    def mine(lines: set[str]) -> set[str]:
        return {line for line in lines if any(word in line for word in words)}

    cgroups = {  # walk does not mind groups that go meanwhile
        f"{folder}/{name}"
        for folder, names, _ in os.walk(HIERARCHIES)
        for name in names
        if "stackd" in name
    }
    places = ("/run/stackd", "/run/netns", "/var/run/netns", "/dev/shm", "/var/lib", "/tmp")
    return {
        "processes": set(mentions(*words)),
        "mounts": mine(set(Path("/proc/self/mountinfo").read_text().splitlines())),
        "links": mine(_lines("ip", "-o", "link")),
        "routes": mine(_lines("ip", "route", "show", "table", "all")),
        "rules": mine(_lines("nft", "list", "ruleset")),
        "claims": mine({path.read_text() for path in Path("/run/stackd/shared").glob("*")}),
        "cgroups": mine(cgroups),
        "files": mine(set().union(*(_names(Path(place)) for place in places))),
    }
