"""A process that is killed at any step comes back and goes on: nothing is lost, nothing is left,
nothing else is restarted. Failpoints are those of `tests.crash.points`.

One cluster lives through all rounds. A round is an update of one stack under load, its scaling
up and down, and another stack that comes and goes meanwhile; the failpoints of the round are
armed at its beginning, and each kills once. `make test` crashes at some of them; with
`--crashes N` (make soak) each of them N times, in random order.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from examples.demo.load import Load, Mix, Tally, Target
from stackd.core.model.container import ContainerSpec
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.record import Record
from stackd.core.model.release import Hold, Release, ServiceRelease, Stack
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskStatus
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.manager import leader
from tests.crash import hook
from tests.crash.points import AGENT, MANAGER, POINTS, SPAWNER
from tests.e2e import invariants, truth
from tests.e2e.cluster import IMAGE, Cluster, Ran, free_port, until
from tests.e2e.stacks import Web

pytestmark = pytest.mark.e2e

SITE = Path(hook.__file__).parent / "site"
ROOT = SITE.parents[2]
RATE = 40.0
MIX = Mix(new=30, post=10, slow=5)
CANARY = "c4n4ry-of-the-crash-points"
PATIENCE = 60.0
NAMES = {AGENT: "node1/agent", MANAGER: "manager", SPAWNER: "node1/spawner"}
AT_START = (
    "agent.begin", "record.rewrite", "task.adopt", "task.resume", "runtime.found",
    "container.adopt", "network.reap", "manager.lead", "manager.hello", "store.leader",
    "store.registrations",
)  # fmt: skip
"""Steps that are come to only when a process starts again, or an agent connects again."""
HAND_OVER = (
    "envoy.start", "envoy.spawn", "envoy.hand_over", "envoy.caught_up", "envoy.retire",
    "envoy.forget",
)  # fmt: skip
"""Steps of a planned restart of Envoy, which a round asks for when one of them is armed."""
JUDGED = ("store.analyses",)
"""Steps of a rollout that is analysed, which a round makes when one of them is armed."""
ROUNDS = [
    # What the manager decides and says, what the agent says, a container from its root to its end.
    ["store.rollouts.after", "runtime.create.before", "conmon.create.after", "runc.start.before",
     "agent.send.before"],
    ["store.drains.before", "store.statuses.after", "traffic.apply.after", "task.signal.after",
     "task.sweep.before"],
    # Other processes: the spawner in the middle of a creation, the keeper in that of a handover.
    ["spawner.answer.before", "spawner.spawn.after", "store.deploy.after", "envoy.caught_up.before",
     "netns.pin.before"],
    # What is come to only when a process starts again.
    ["agent.begin.after", "task.resume.before", "store.leader.after", "record.rewrite.before",
     "store.publish.before"],
    ["store.analyses.after"],
]  # fmt: skip
"""The failpoints of `make test`, by round."""
LATE = ("store.reaper",)
"""Steps that are come to after many rounds, when there is old history to remove."""
FRESH = 4
"""Times that each failpoint is come to before those: there may be a cluster for each process."""
TOGETHER = 10
"""Failpoints in one round of a soak."""


JUDGED_STACK = """
name: judged
services:
  web:
    image: stackd-demo:{version}
    deploy:
      strategy:
        type: canary
        monitor: 300ms
        scale_down_delay: 0s
        steps:
          - set_weight: 50%
          - analysis:
              checks: [{{command: [/bin/true]}}]
              warm_up: 0s
              interval: 1s
"""


def points_of(*steps: str) -> list[str]:
    return [f"{step}.{when}" for step in steps for when in ("before", "after")]


@dataclass(slots=True)
class Crashes:
    """A cluster whose processes have failpoints, and what is known of it."""

    cluster: Cluster
    folder: Path
    web: Web
    side: str
    history: invariants.History
    release: int = 0
    rounds: int = 0
    tracebacks: set[str] = field(default_factory=set)
    files: dict[str, int] = field(default_factory=dict)
    """Of each process by its name: the descriptors that it had at first."""

    def arm(self, points: Iterable[str]) -> None:
        for point in points:
            assert point in POINTS
            (self.folder / "fired" / point).unlink(missing_ok=True)
            (self.folder / "armed" / point).write_text("1")

    def armed(self) -> set[str]:
        return {path.name for path in (self.folder / "armed").iterdir()}

    def seen(self) -> set[str]:
        return {path.name for path in (self.folder / "seen").iterdir()}

    def disarm(self) -> None:
        for path in (self.folder / "armed").iterdir():
            path.unlink(missing_ok=True)

    def insist(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Until it succeeds: what a killed manager did not answer is asked again."""

        def tried() -> Ran | None:
            os.environ["CRASH_CANARY"] = CANARY
            ran = self.cluster.run(*arguments, stdin=stdin)
            last[:] = [ran]
            return ran if ran.code == 0 else None

        last: list[Ran] = []
        try:
            return until(tried, " ".join(arguments), PATIENCE) or last[0]
        except AssertionError:
            raise AssertionError(f"{arguments}: {last[0]}\n{self.trouble()}") from None

    def rows(self, name: str) -> list[dict[str, Any]]:
        ran = self.insist("ps", name, "-o", "json")
        assert isinstance(ran.json, list)
        return ran.json

    def ready(self, count: int) -> None:
        def check() -> bool:
            rows = self.rows(self.web.name)
            return len(rows) == count and all(row["health"] == "healthy" for row in rows)

        until(check, f"{count} tasks: {self.web.name}", PATIENCE)

    def update(self) -> None:
        """A revision that never was: what a failed round left held is not asked for again."""
        service = f"    environment: {{ROUND: '{self.rounds}'}}\n"
        self.web = replace(self.web, version=3 - self.web.version, service=service)
        ran = self.insist("apply", "-f", "-", "-o", "json", stdin=self.web.text)
        self.release = max(self.release, ran.json["release"])

    def removed(self) -> None:
        """Ask once more if the answer did not come; it may have been heard."""

        def gone() -> bool:
            ran = self.cluster.run("rm", "side", "--wait", "--timeout", "60s")
            return ran.code == 0 or "side" not in {
                row["stack"] for row in self.insist("ls", "-o", "json").json
            }

        until(gone, "side is gone", PATIENCE)

    def trouble(self) -> str:
        logs = [*(self.cluster.data / "logs").glob("*.log")]
        logs += self.cluster.run_folder.rglob("envoy*.log")
        texts = [f"{log.name}: {log.read_text()[-3000:]}" for log in sorted(logs)]
        return "\n".join([*texts, *invariants.Node(self.cluster).statistics()])

    def kill(self, process: str) -> None:
        if found := truth.processes(self.cluster).get(NAMES[process]):
            found.kill()

    def hand_over(self, points: Iterable[str]) -> None:
        """Ask for planned restarts of Envoy until each of the failpoints has killed, and for one
        that succeeds."""
        if not {*points} & {*points_of(*HAND_OVER)}:
            return

        def asked() -> bool:
            if keeper := truth.processes(self.cluster).get("node1/envoy-keeper"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(keeper.pid, signal.SIGUSR1)
                with contextlib.suppress(AssertionError):
                    until(lambda: not keeper.alive, "it has killed itself", 3)
            return not self.armed() & {*points_of(*HAND_OVER)}

        until(asked, f"armed: {self.armed()}", 2 * PATIENCE)
        before = self.envoys()
        until(lambda: asked() and not self.envoys() & before, "a handover", PATIENCE)

    def judge(self, points: Iterable[str]) -> None:
        """Roll out a canary that is analysed, if that is what a failpoint waits for."""
        if not {*points} & {*points_of(*JUDGED)}:
            return
        for version in (1, 2):
            text = JUDGED_STACK.format(version=version)
            self.insist("apply", "-f", "-", stdin=text)
            self.insist("wait", "judged")
        self.insist("rm", "judged", "--wait", "--timeout", "60s")

    def envoys(self) -> set[truth.Process]:
        found = truth.processes(self.cluster).items()
        return {process for name, process in found if name.startswith("node1/envoy-")
                and name != "node1/envoy-keeper"}  # fmt: skip

    def check(self, round_name: str) -> None:
        """All invariants, once everything has settled."""
        raw = invariants.settle(self.cluster)
        problems = self.history.check(raw)
        stack = raw.all(Stack)[self.web.name]
        if stack.release != self.release:
            problems.append(f"I1: release {self.release} is acknowledged, {stack.release} stored")
        unwanted, self.history.unwanted = self.history.unwanted, []
        problems += [f"restarted: {end}" for end in unwanted]
        fresh = set(invariants.tracebacks(self.cluster)) - self.tracebacks
        self.tracebacks |= fresh
        problems += sorted(fresh)
        for name, count in invariants.files(self.cluster).items():
            if count > self.files.setdefault(name, count) + invariants.MORE_FILES:
                problems.append(f"I13: {name} has {count} files open, {self.files[name]} at first")
        assert not problems, f"{round_name}\n" + "\n".join(problems)


@contextlib.asynccontextmanager
async def load(port: int) -> AsyncIterator[Tally]:
    target = Target("127.0.0.1", port, slow_seconds=0.5)
    async with Load(target, RATE, MIX).running() as tally:
        await asyncio.to_thread(until, lambda: tally.answered, "a first answer")
        yield tally


@pytest.fixture(scope="module")
def crashes(apart: Cluster) -> Iterator[Crashes]:
    """A cluster with failpoints and a running stack."""
    folder = apart.data.parent / "crash"
    for name in ("armed", "fired", "seen"):
        (folder / name).mkdir(parents=True)
    env = {hook.VARIABLE: str(folder), "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}"}
    # Killed ten times in a row it is away for longer than 15 s on a busy machine: that is no crash.
    started = apart.run("up", "--detach", "--heartbeat", "15", env=env)
    assert started.code == 0, started.err
    apart.must("image", "load", "-i", str(IMAGE))
    web = Web("crash", free_port())
    side = f"""
name: side
services:
  job:
    image: stackd-demo:1
    ports: [{{target: 8080, published: {free_port()}, app_protocol: http}}]
    healthcheck: {{http: {{path: /healthz, port: 8080}}, interval: 500ms}}
    configs: [plain]
    secrets: [hidden]
    volumes: ["kept:/kept"]
    deploy: {{update_config: {{monitor: 300ms}}}}
  stubborn:
    image: stackd-demo:1
    entrypoint: [/usr/bin/python3, -c]
    command: ["import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(3600)"]
    stop_grace_period: 500ms
    deploy: {{update_config: {{monitor: 300ms}}}}
configs:
  plain: {{content: "of round ROUND: a new one each time"}}
secrets:
  hidden: {{environment: CRASH_CANARY}}
volumes:
  kept: {{}}
"""
    history = invariants.History(floors={"crash/web": web.replicas})
    made = Crashes(apart, folder, web, side, history)
    made.release = made.insist("apply", "-f", "-", "-o", "json", stdin=web.text).json["release"]
    made.insist("wait", web.name)
    made.check("at first")
    yield made
    made.disarm()


def crash(crashes: Crashes, points: list[str]) -> Tally:
    """One round with these failpoints; each must have killed, and all must be well after it."""
    cluster = crashes.cluster
    before = truth.processes(cluster)
    killed = {POINTS[point] for point in points}
    restarts = {POINTS[p] for p in points if p.rpartition(".")[0] in AT_START}
    crashes.rounds += 1
    crashes.arm(points)

    def work() -> None:
        crashes.insist("apply", "-f", "-", stdin=crashes.side.replace("ROUND", str(crashes.rounds)))
        crashes.update()
        if restarts:
            until(lambda: len(crashes.rows("crash")) > 2, "the update has begun")
            for process in restarts:
                crashes.kill(process)
        crashes.hand_over(points)
        crashes.judge(points)
        crashes.insist("wait", "side")
        crashes.insist("wait", "crash")
        crashes.insist("scale", "crash/web=3")
        crashes.ready(3)
        crashes.insist("scale", "crash/web=2")
        crashes.removed()
        crashes.ready(2)

    async def scenario() -> Tally:
        async with load(crashes.web.port) as tally:
            await asyncio.to_thread(work)
        return tally

    try:
        tally = asyncio.run(scenario())
        assert crashes.armed() == set(), "not come to"
    finally:
        crashes.disarm()
    crashes.check(f"round {crashes.rounds}: {points}")
    assert not tally.lost, f"{len(tally.lost)} lost: {tally.lost[:5]}\n{crashes.trouble()}"
    after = truth.processes(cluster)
    mine = tuple(NAMES.get(process, "node1/envoy") for process in {*killed, *restarts})
    other = {n: p for n, p in before.items() if not n.startswith((*mine, "node1/b/"))}
    assert {n: after.get(n) for n in other} == other
    return tally


def soak(times: int) -> Iterator[list[str]]:
    """Every failpoint so many times, in random order, some together: those that ask for more than
    an update among themselves."""
    order = random.Random(times)
    dear = {*points_of(*HAND_OVER, *JUDGED)}
    for turn in range(times):
        wanted = set(POINTS) - {*points_of(*(LATE if turn < FRESH else ()))}
        for group in (wanted - dear, wanted & dear):
            points = sorted(group)
            order.shuffle(points)
            size = TOGETHER // 2 if group <= dear else TOGETHER
            yield from (points[at : at + size] for at in range(0, len(points), size))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "points" in metafunc.fixturenames:
        times = metafunc.config.getoption("crashes")
        metafunc.parametrize("points", list(soak(times)) if times else ROUNDS, ids="+".join)


@pytest.mark.timeout(300)
def test_killed_at_several_steps_of_a_round(crashes: Crashes, points: list[str]) -> None:
    tally = crash(crashes, points)
    print(f"{len(points)} processes killed, {tally.answered} requests, {len(tally.lost)} lost")


def test_every_step_was_come_to(crashes: Crashes, pytestconfig: pytest.Config) -> None:
    """Also those at which nothing was killed: the list of failpoints is true."""
    late = LATE if not pytestconfig.getoption("crashes") else ()
    assert set(POINTS) - crashes.seen() <= {*points_of(*late)}
    assert not invariants.leaks(crashes.cluster, CANARY)


ORPHAN = "0rphan000000"


def test_what_is_left_over_would_be_noticed(crashes: Crashes) -> None:
    """The checks of the kernel, on a cluster where something was put by hand."""
    cluster = crashes.cluster
    node = invariants.Node(cluster)
    folders = [
        node.data / "containers" / ORPHAN,
        node.run / "b" / ORPHAN,
        *(path / ORPHAN for path in invariants.CGROUPS.glob(f"*/stackd-{cluster.id}/node1")),
    ]
    files = [node.run / "net" / f"t-{ORPHAN}", node.data / "record.new"]
    inside = ["nsenter", f"--net={node.run / 'net' / 'node'}"]
    try:
        for folder in folders:
            folder.mkdir()
        for file in files:
            file.touch()
        subprocess.run([*inside, *"ip link add left0 type veth peer left1".split()], check=True)
        found = "\n".join(invariants.present(cluster, invariants.read(cluster)))
    finally:
        subprocess.run([*inside, *"ip link del left0".split()], check=False)
        for file in files:
            file.unlink(missing_ok=True)
        for folder in folders:
            folder.rmdir()
    for words in ("writable layers", "bundles", "control groups", "network namespaces"):
        assert f"{words}: missing [], left ['{ORPHAN}']" in found
    assert "links for" in found
    assert "record.new" in found
    crashes.check("afterwards")


def change(revision: int, record: Record) -> invariants.Change:
    return invariants.Change(revision, record.TABLE, record.key, record)


def test_what_went_wrong_would_be_noticed() -> None:
    """The checks of the log, on one that no cluster writes."""
    task = Task(id=TaskId("a"), stack="s", service="w", slot="1", revision=RevisionId("r"))
    moved = msgspec.structs.replace(task, node="n2")
    task = msgspec.structs.replace(task, node="n1")
    good = TaskStatus(id=task.id, state=TaskState.RUNNING, ready=True, ready_at=1)
    lost = msgspec.structs.replace(good, ready=False)
    back = msgspec.structs.replace(good, state=TaskState.READY)
    end = Endpoint(
        task=TaskId("b"),
        revision=task.revision,
        node="n1",
        state=EndpointState.READY,
        addresses={},
    )
    entry = TrafficEntry(stack="s", service="w", weights={"r": 9_999}, endpoints=(end,))
    history = invariants.History(floors={"s/w": 1})
    records = (task, good, lost, back, moved)
    raw = invariants.Raw(5, [change(n + 1, record) for n, record in enumerate(records)])
    raw.changes.append(change(6, entry))
    found = history.check(raw)
    assert [problem[:3].strip(":") for problem in found] == ["I5", "I4", "I5", "I4", "I12", "I12"]
    assert history.check(invariants.Raw(3)) == ["I2: revision 3 after 5"]


def test_tasks_of_another_release_would_be_noticed() -> None:
    task = Task(
        id=TaskId("a"), stack="s", service="w", slot="1", revision=RevisionId("r1"), node="n"
    )
    service = ServiceSpec(name="w", container=ContainerSpec(image="x"))
    declared = ServiceRelease(spec=service, revision=RevisionId("r2"))
    spec = StackSpec(name="s", services={})
    release = Release(stack="s", number=2, spec=spec, services={"w": declared})
    hold = Hold(stack="s", service="w", revision=declared.revision, reason="bad", at=0)
    head = Stack(name="s", owner="cli", release=2)
    raw = invariants.Raw()
    for record in (task, release, head):
        raw.records.setdefault(record.TABLE, {})[record.key] = record
    assert invariants.released(raw) == ["I7: a runs r1, declared is r2"]
    raw.records[Hold.TABLE] = {hold.key: hold}
    assert invariants.released(raw) == []


def test_a_second_leader_would_be_noticed() -> None:
    def found(*values: bytes | None) -> list[str]:
        connection = sqlite3.connect(":memory:")
        with contextlib.closing(connection):
            connection.execute("CREATE TABLE meta (name, value)")
            connection.execute("CREATE TABLE kv (key, mod_revision)")
            connection.execute("CREATE TABLE log (revision, key, value, sequence)")
            connection.execute("INSERT INTO meta VALUES ('revision', 9)")
            for number, value in enumerate(values, 1):
                row = (number, leader.EPOCH_KEY, value)
                connection.execute("INSERT INTO log VALUES (?, ?, ?, 0)", row)
            if values[-1] is not None:
                connection.execute("INSERT INTO kv VALUES (?, ?)", (leader.EPOCH_KEY, len(values)))
            return invariants.parsed(connection).problems

    assert found(b"m1", None, b"m2") == []
    assert found(b"m1", b"m2") == ["I3: a second leader at revision 2"]
