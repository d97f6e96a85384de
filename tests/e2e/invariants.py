"""The invariants of a cluster of one node, checked against the kernel and the raw store.

Nothing here asks stackd: tasks and their history come from a copy of the store's file, what is
there from control groups, /proc, runc, mounts, namespaces, nftables and Envoy's own admin socket.
Numbers are those of the list of invariants (docs/adr/0007): I1 acknowledged writes, I2 revisions,
I3 one leader, I4 tasks, I5 ready replicas, I6 nothing missing or left over, I7 one whole release,
I8 secrets, I12 traffic, I13 open files, I14 no tracebacks.
"""

import json
import shutil
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackd.core.model.record import Record
from stackd.core.model.release import Hold, Release, Stack
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.traffic import EndpointState, TrafficEntry
from stackd.manager.leader import EPOCH_KEY
from stackd.store import codec
from tests.e2e import truth
from tests.e2e.cluster import Cluster, until

CGROUPS = Path("/sys/fs/cgroup")
MORE_FILES = 64
"""Descriptors that a process may have open beyond what it began with: connections come and go."""
SETTLED = 15.0
"""Seconds within which what is there must be what is wanted, once nothing is broken any more."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the store's log: a record, or None where it was removed."""

    revision: int
    table: str
    key: str
    record: Record | None


@dataclass(slots=True)
class Raw:
    """The store's file at one moment."""

    revision: int = 0
    changes: list[Change] = field(default_factory=list)
    records: dict[str, dict[str, Record]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def all(self, kind: type[Record]) -> Mapping[str, Any]:
        """The records of one table."""
        return self.records.get(kind.TABLE, {})

    def live(self) -> dict[str, Task]:
        """Tasks that have been placed and have not ended."""
        status = self.all(TaskStatus)
        return {
            key: task
            for key, task in self.all(Task).items()
            if task.node and not (key in status and status[key].state.finished)
        }

    def settled(self) -> bool:
        """Every task that is wanted is ready, and none is on its way."""
        desired, status, tasks = self.all(TaskDesired), self.all(TaskStatus), self.all(Task)
        return all(
            status[key].state.finished
            or (
                desired[key].state is TaskState.RUNNING
                and status[key].state is TaskState.RUNNING
                and status[key].ready
            )
            for key in tasks
        ) and not any(stack.removing for stack in self.all(Stack).values())


def read(cluster: Cluster) -> Raw:
    """Copy the store's file, which the manager holds locked, and read the copy."""
    with tempfile.TemporaryDirectory() as folder:
        path = _copied(cluster.data / "manager" / "store.db", Path(folder))
        connection = sqlite3.connect(path)
        try:
            return parsed(connection)
        finally:
            connection.close()


def _copied(store: Path, folder: Path) -> Path:
    """A checkpoint between the two copies would tear them apart: then both are made again."""
    while True:
        before = store.stat()
        for path in (store, store.with_name("store.db-wal")):
            shutil.copyfile(path, folder / path.name)
        after = store.stat()
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
            return folder / store.name


def parsed(connection: sqlite3.Connection) -> Raw:
    """What a store's file says, and what is wrong with it as a whole."""
    raw = Raw()
    [(raw.revision,)] = connection.execute("SELECT value FROM meta WHERE name = 'revision'")
    if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        raw.problems.append("I1: the store's file is damaged")
    replayed: dict[str, int] = {}
    rows = connection.execute("SELECT revision, key, value FROM log ORDER BY revision, sequence")
    for revision, name, value in rows:
        if name == EPOCH_KEY and value is not None and name in replayed:
            raw.problems.append(f"I3: a second leader at revision {revision}")
        replayed[name] = revision
        if value is None:
            del replayed[name]
        if name.startswith("/stackd/"):
            _, _, table, key = name.split("/", 3)
            record = None if value is None else codec.decode(table, value)
            raw.changes.append(Change(revision, table, key, record))
            if record is None:
                raw.records.get(table, {}).pop(key, None)
            else:
                raw.records.setdefault(table, {})[key] = record
    listed = dict(connection.execute("SELECT key, mod_revision FROM kv").fetchall())
    if listed != replayed:
        raw.problems.append(
            f"I2: list and log differ: {set(listed.items()) ^ set(replayed.items())}"
        )
    if any(revision > raw.revision for revision in listed.values()):
        raw.problems.append("I2: a key is newer than the store")
    return raw


@dataclass(slots=True)
class History:
    """Follows the log from one check to the next. `floors`: STACK/SERVICE -> the least number of
    ready tasks from when it is first reached."""

    floors: dict[str, int] = field(default_factory=dict)
    revision: int = 0
    unwanted: list[str] = field(default_factory=list)
    _reached: set[str] = field(default_factory=set)
    _tasks: dict[str, Task] = field(default_factory=dict)
    _status: dict[str, TaskStatus] = field(default_factory=dict)

    def check(self, raw: Raw) -> list[str]:
        """What went wrong since the last check; `unwanted` gets the ends of tasks that nobody
        asked to go."""
        problems = list(raw.problems)
        if raw.revision < self.revision:
            problems.append(f"I2: revision {raw.revision} after {self.revision}")
        for change in raw.changes:
            if change.revision > self.revision:
                problems += self._follow(change)
        self.revision = raw.revision
        return problems

    def _follow(self, change: Change) -> Iterator[str]:
        match change.record:
            case Task() as task:
                old = self._tasks.get(task.id)
                if old is not None and old.node and old.node != task.node:
                    yield f"I4: task {task.id} moved from {old.node} to {task.node}"
                self._tasks[task.id] = task
            case TaskStatus() as status:
                before = self._status.get(status.id)
                if before is not None and status.state < before.state:
                    yield f"I4: {status.id}: {before.state.name}, then {status.state.name}"
                if status.state >= TaskState.FAILED and before != status:
                    self.unwanted.append(f"{status.id}: {status.state.name} {status.error}")
                self._status[status.id] = status
                yield from self._floor(status, change.revision)
            case TrafficEntry() as entry:
                yield from self._entry(entry, change.revision)

    def _floor(self, said: TaskStatus, revision: int) -> Iterator[str]:
        owner = self._tasks[said.id]
        name = f"{owner.stack}/{owner.service}"
        if name not in self.floors:
            return
        ready = sum(
            s.ready and s.state is TaskState.RUNNING
            for key, s in self._status.items()
            if (self._tasks[key].stack, self._tasks[key].service) == (owner.stack, owner.service)
        )
        if ready >= self.floors[name]:
            self._reached.add(name)
        elif name in self._reached:
            yield f"I5: {name} had {ready} ready tasks at revision {revision}: {said}"

    def _entry(self, entry: TrafficEntry, revision: int) -> Iterator[str]:
        total = sum(entry.weights.values())
        if entry.weights and total != 10_000:
            yield f"I12: weights of {entry.key} sum to {total} at revision {revision}"
        for endpoint in entry.endpoints:
            status = self._status.get(endpoint.task)
            if endpoint.state is EndpointState.READY and (status is None or not status.ready_at):
                yield f"I12: {endpoint.task} got traffic before it was ready"


class Node:
    """What is there of the one node of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.run = cluster.run_folder / "node1"
        self.data = cluster.data / "nodes" / "node1"
        self._group = f"stackd-{cluster.id}/node1"
        self._table = f"stackd_{cluster.id}"

    def kinds(self) -> dict[str, list[str]]:
        """Each kind of thing that a task has here -> the tasks that have one."""
        return {
            "control groups": sorted(self._groups()),
            "bundles": _names(self.run / "b"),
            "runc's containers": self._runc(),
            "first processes": sorted(self._running()),
            "monitors": sorted(_monitors(self.run)),
            "writable layers": _names(self.data / "containers"),
            "mounts": sorted(self._mounts()),
            "network namespaces": [n[2:] for n in _names(self.run / "net") if n[:2] == "t-"],
            "network records": [n[2:] for n in _names(self.run / "net") if n[:2] == "r-"],
        }

    def _groups(self) -> set[str]:
        return {
            path.name
            for hierarchy in CGROUPS.iterdir()
            for path in hierarchy.glob(f"{self._group}/*/")
        }

    def _runc(self) -> list[str]:
        listed = json.loads(_out("runc", "--root", str(self.run / "runc"), "list", "-f", "json"))
        return sorted(found["id"] for found in listed or ())

    def _running(self) -> Iterator[str]:
        """Tasks by the processes in their group whose parent is outside of it."""
        for group in CGROUPS.glob(f"memory/{self._group}/*/"):
            inside = set((group / "cgroup.procs").read_text().split())
            for pid in inside:
                fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
                if fields[1] not in inside:
                    yield group.name

    def _mounts(self) -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            target = Path(line.split()[4])
            if target.is_relative_to(self.data / "containers"):
                yield target.relative_to(self.data / "containers").parts[0]

    def links(self) -> int:
        """How many ends of task links the data plane has."""
        listed = json.loads(self._inside("ip", "-j", "link", "show", "type", "veth"))
        return sum(1 for link in listed if link["ifname"] != "up0")

    def sources(self) -> list[str]:
        """The addresses that tasks of this node may send from."""
        return sorted(e["concat"][2] for e in self._elements("set", "src4"))

    def slots(self) -> set[str]:
        """The addresses behind virtual ones."""
        return {data for _, data in self._elements("map", "slots")}

    def _elements(self, kind: str, name: str) -> list[Any]:
        text = self._inside("nft", "-j", "list", kind, "ip", self._table, name)
        [found] = [item[kind] for item in json.loads(text)["nftables"] if kind in item]
        return list(found.get("elem", ()))

    def _inside(self, *argv: str) -> str:
        return _out("nsenter", f"--net={self.run / 'net' / 'node'}", *argv)

    def ingress(self) -> set[str]:
        """The addresses that Envoy has of tasks."""
        found = set()
        for admin in self.run.glob("envoy-*.admin"):
            listed = json.loads(
                _out("curl", "-s", "--unix-socket", str(admin), "http://x/clusters?format=json")
            )
            for cluster in listed["cluster_statuses"]:
                for host in cluster.get("host_statuses", ()):
                    if "socket_address" in host["address"]:
                        found.add(host["address"]["socket_address"]["address"])
        return found

    def statistics(self) -> Iterator[str]:
        """What each Envoy has counted."""
        for admin in self.run.glob("envoy-*.admin"):
            yield f"{admin.stem}:\n" + _out(
                "curl", "-s", "--unix-socket", str(admin), "http://x/stats?usedonly&type=Counters"
            )

    def unfinished(self) -> list[str]:
        """Files that were to be renamed once they were whole."""
        return [
            str(path)
            for folder in (self.run, self.data)
            for pattern in ("*.new", "*.partial", "*.tmp")
            for path in folder.glob(pattern)
        ]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _out(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout


def _monitors(run: Path) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith(b"/conmon") and str(run).encode() in b" ".join(words):
            yield words[words.index(b"-c") + 1].decode()


def present(cluster: Cluster, raw: Raw) -> list[str]:
    """I6, I4, I12: what is there is what the store says, once per task."""
    node, live = Node(cluster), raw.live()
    problems = [] if raw.settled() else ["I6: tasks are still on their way"]
    for kind, found in node.kinds().items():
        if found != sorted(live):
            missing, extra = (
                Counter(live.keys()) - Counter(found),
                Counter(found) - Counter(live.keys()),
            )
            problems.append(f"I6: {kind}: missing {list(missing)}, left {list(extra.elements())}")
    addresses = sorted(a for task in live.values() for a in task.addresses.values())
    if node.links() != len(addresses):
        problems.append(f"I6: {node.links()} links for {len(addresses)} addresses")
    if node.sources() != addresses:
        problems.append(f"I6: sources {node.sources()} instead of {addresses}")
    ready = {
        address
        for entry in raw.all(TrafficEntry).values()
        for endpoint in entry.endpoints
        for address in endpoint.addresses.values()
    }
    if not ready <= set(addresses):
        problems.append(f"I12: traffic for {ready - set(addresses)}, where no task is")
    if node.slots() != ready:
        problems.append(f"I12: nftables sends to {node.slots()}, the store says {ready}")
    ingress = {
        endpoint.addresses[entry.ingress_network]
        for entry in raw.all(TrafficEntry).values()
        if entry.ports
        for endpoint in entry.endpoints
    }
    if node.ingress() != ingress:
        problems.append(f"I12: Envoy sends to {node.ingress()}, the store says {ingress}")
    return problems + [f"I6: left: {path}" for path in node.unfinished()]


def released(raw: Raw) -> list[str]:
    """I7: live tasks are those of the current releases; a refused revision has none there."""
    problems = []
    for task in raw.live().values():
        head = raw.all(Stack).get(task.stack)
        release = raw.all(Release).get(f"{task.stack}/{head.release:08d}") if head else None
        declared = release.services.get(task.service) if release else None
        wanted = declared.revision if declared else ""
        if f"{task.stack}/{task.service}/{wanted}" in raw.all(Hold):
            continue
        if task.revision != wanted:
            problems.append(f"I7: {task.id} runs {task.revision}, declared is {wanted or 'none'}")
    return problems


def files(cluster: Cluster) -> dict[str, int]:
    """Descriptors that each process of stackd has open; Envoy's are its clients'."""
    found = {}
    for name, process in truth.processes(cluster).items():
        if "/b/" not in name and not name.rpartition("-")[2].isdigit():
            try:
                found[name] = len(list(Path("/proc", str(process.pid), "fd").iterdir()))
            except FileNotFoundError:
                continue
    return found


def settle(cluster: Cluster) -> Raw:
    """Wait until what is there is what is wanted; fails with what is not, after SETTLED."""
    last: list[str] = ["not looked at"]
    found: list[Raw] = []

    def good() -> bool:
        try:
            raw = read(cluster)
            last[:] = [*present(cluster, raw), *released(raw)]
        except (OSError, subprocess.CalledProcessError, KeyError) as error:
            last[:] = [f"{type(error).__name__}: {error}"]
        else:
            found[:] = [raw]
        return not last

    try:
        until(good, "settled", SETTLED)
    except AssertionError:
        raise AssertionError("\n".join(last)) from None
    return found[0]


def tracebacks(cluster: Cluster) -> list[str]:
    """I14: log files with a traceback, with its last line."""
    found = []
    for log in [*(cluster.data / "logs").glob("*.log"), *cluster.run_folder.rglob("*keeper.log")]:
        text = log.read_text(errors="replace")
        if "Traceback" in text:
            found.append(f"I14: {log.name}: {text[text.index('Traceback') :][:1500]}")
    return found


def leaks(cluster: Cluster, canary: str, ignore: Sequence[str] = ()) -> list[str]:
    """I8: files of the cluster with a secret's value in clear; container's own memory apart."""
    return [
        f"I8: {path}"
        for path in cluster.data.rglob("*")
        if path.is_file()
        and not any(part in path.parts for part in ("layers", "blobs", "merged", *ignore))
        and canary.encode() in path.read_bytes()
    ]
