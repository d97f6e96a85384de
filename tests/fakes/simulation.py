"""The manager's deciding loops on one World in virtual time, with agents that only report.

The real loops, the real drain and the real traffic table; every node applies the table at once.
Used by scenarios and properties.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from stackd.core.model.container import ContainerSpec
from stackd.core.model.decision import Dirty
from stackd.core.model.event import Event
from stackd.core.model.ids import NodeId, RevisionId
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.record import Change, Changes, Delete, Put, Record, Ref
from stackd.core.model.release import Release, Revision, ServiceRelease, Stack
from stackd.core.model.rollout import ToggleState
from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.model.states import Availability, NodeState, TaskState
from stackd.core.model.task import Task
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.network.allocate import Settings
from stackd.core.traffic import drain, table
from stackd.manager import allocator, orchestrator, reaper, rollouts, scheduler
from stackd.manager.loop import ControlLoop
from tests.fakes.agent import FakeAgents

START = 1_000_000.0
_ROUNDS = 2000


@dataclass
class _Running:
    loop: ControlLoop
    dirty: set[Ref] = field(default_factory=set)
    everything: bool = True
    wake_at: float | None = None

    def due(self, now: float) -> bool:
        woken = self.wake_at is not None and self.wake_at <= now
        return bool(self.dirty) or self.everything or woken


def _loops() -> list[_Running]:
    def drains(world: World, dirty: Dirty, now: float, ids: Iterator[str]):  # type: ignore[no-untyped-def]
        return drain.decide(world, dirty, now, ids.__next__)

    def traffic(world: World, dirty: Dirty, now: float, ids: Iterator[str]):  # type: ignore[no-untyped-def]
        return table.decide(world, dirty, now, ids.__next__)

    watches = orchestrator.WATCHES
    loops = [
        rollouts.rollouts(),
        orchestrator.orchestrator(),
        allocator.allocator(Settings(cluster="simulate")),
        scheduler.scheduler(),
        ControlLoop("traffic", (*watches, ToggleState, ToggleOverride), traffic),
        ControlLoop("drains", (*watches, NodeReport), drains),
        reaper.reaper(),
    ]
    return [_Running(loop) for loop in loops]


class Simulation:
    """A cluster in virtual time. `check` is called after every step."""

    def __init__(self, nodes: int = 3) -> None:
        self.world = World()
        self.now = START
        self.agents = FakeAgents()
        self.conflicts = 0
        self._number = 0
        self._loops = _loops()
        self.ids = self._ids()
        for index in range(1, nodes + 1):
            self.node(f"n{index}", index=index)

    def _ids(self) -> Iterator[str]:
        while True:
            self._number += 1
            yield f"id{self._number:010d}"

    def restart_manager(self) -> None:
        """Forget all that loops remember, as a new leader has."""
        self._loops = _loops()

    def node(self, name: str, index: int = 1, *, cpus: float = 4, memory: int = 4 << 30) -> None:
        self.write(
            Node(id=NodeId(name), name=name, index=index),
            NodeStatus(
                id=NodeId(name),
                state=NodeState.READY,
                address=f"192.0.2.{index}",
                epoch=1,
                cpus=cpus,
                memory=memory,
            ),
        )

    def set_node(
        self,
        name: str,
        state: NodeState | None = None,
        availability: Availability | None = None,
    ) -> None:
        if state is not None:
            status = self.world.get(NodeStatus, name)
            assert status is not None
            self.write(msgspec.structs.replace(status, state=state))
            (self.agents.silent.discard if state is NodeState.READY else self.agents.silent.add)(
                name
            )
        if availability is not None:
            node = self.world.get(Node, name)
            assert node is not None
            self.write(msgspec.structs.replace(node, availability=availability))

    def label(self, name: str, setting: str) -> None:
        """Set a label of a node, KEY=VALUE."""
        node = self.world.get(Node, name)
        assert node is not None
        key, value = setting.split("=")
        self.write(msgspec.structs.replace(node, labels={**node.labels, key: value}))

    def reboot(self, name: str) -> None:
        """A node that was down is back, and nothing of it runs any more."""
        self.set_node(name, state=NodeState.READY)
        for view in self.world.tasks_on(name):
            if TaskState.ACCEPTED <= view.status.state < TaskState.COMPLETE:
                ended = TaskState.SHUTDOWN
                error = "its node was restarted"
                self.write(
                    msgspec.structs.replace(
                        view.status, state=ended, ready=False, error=error, seen=self.now
                    )
                )

    def deploy(
        self, stack: str, services: dict[str, tuple[ServiceSpec, str]], **spec: object
    ) -> int:
        """Declare a release: service -> (spec, revision)."""
        head = self.world.get(Stack, stack)
        known = [r.number for r in self.world.all(Release) if r.stack == stack]
        number = max(known, default=0) + 1
        release = Release(
            stack=stack,
            number=number,
            spec=StackSpec(name=stack, services={n: s for n, (s, _) in services.items()}, **spec),  # type: ignore[arg-type]
            services={
                n: ServiceRelease(spec=s, revision=RevisionId(r)) for n, (s, r) in services.items()
            },
            content_hash=repr(services),
            by="tester",
        )
        for name, (service, revision) in services.items():
            container = msgspec.structs.replace(service.container, image=f"{name}@{revision}")
            self.write(
                Revision(stack=stack, service=name, id=RevisionId(revision), container=container)
            )
        old = head or Stack(name=stack, owner="cli", release=0)
        self.write(release, msgspec.structs.replace(old, release=number, back=False))
        return number

    def write(self, *records: Record | Change) -> None:
        """Write as somebody outside the loops."""
        self.commit(
            Changes(changes=tuple(Put(record=r) if isinstance(r, Record) else r for r in records))
        )

    def commit(self, changes: Changes) -> None:
        self.world.revision += 1
        for change in changes.changes:
            match change:
                case Put(record=record):
                    self.world.apply(record, self.world.revision)
                    place = Ref(table=record.TABLE, key=record.key)
                case Delete(ref=place):
                    self.world.remove(place.table, place.key)
            self._notify(place)

    def _notify(self, place: Ref) -> None:
        for running in self._loops:
            if place.table in {watched.TABLE for watched in running.loop.watches}:
                running.dirty.add(place)

    def settle(self) -> None:
        """Let loops and agents do all that is to be done at this moment."""
        for _ in range(_ROUNDS):
            self._report_applied()
            busy = [running for running in self._loops if running.due(self.now)]
            for running in busy:
                self._pass(running)
            reported = self._agents_report()
            self.check()
            if not busy and not reported:
                return
        raise AssertionError("the loops do not come to rest")

    def _pass(self, running: _Running) -> None:
        dirty = Dirty(everything=running.everything, refs=frozenset(running.dirty))
        running.dirty, running.everything = set(), False
        decision = running.loop.decide(self.world, dirty, self.now, self.ids)
        wake = decision.wake_at
        running.wake_at = None if wake is None else max(wake, self.now + 0.01)
        conditions = [self._conditions(changes) for changes in decision.commits]
        for changes, before in zip(decision.commits, conditions, strict=True):
            places = {*before}
            assert len(places) <= 99, f"{running.loop.name}: {len(places)} places in a commit"
            if self._conditions(changes) == before:
                self.commit(changes)
            else:
                self.conflicts += 1
                running.dirty |= dirty.refs
                running.everything |= dirty.everything

    def _conditions(self, changes: Changes) -> dict[Ref, int]:
        places = [c.ref if isinstance(c, Delete) else _place(c) for c in changes.changes]
        return {p: self.world.rev(p.table, p.key) for p in (*places, *changes.relies)}

    def _report_applied(self) -> None:
        for status in self.world.all(NodeStatus):
            report = NodeReport(
                id=status.id,
                applied=self.world.revision,
                counted=self.world.revision,
                removed={
                    b.name: b.removing
                    for b in self.world.all(VolumeBinding)
                    if b.node == status.id and b.removing
                },
            )
            have = self.world.get(NodeReport, status.id)
            fresh = have is None or have.applied < self._table_revision()
            fresh = fresh or have is None or have.removed != report.removed
            if fresh and status.id not in self.agents.silent:
                self.world.apply(report, self.world.revision)
                self._notify(Ref(table=NodeReport.TABLE, key=report.id))

    def _table_revision(self) -> int:
        return max(
            (self.world.rev(TrafficEntry.TABLE, e.key) for e in self.world.all(TrafficEntry)),
            default=0,
        )

    def _agents_report(self) -> bool:
        reported = False
        for task in list(self.world.all(Task)):
            view = self.world.task(task.id)
            assert view is not None
            due = self.agents.due(self.world, view, self.now)
            if due is not None and due[0] <= self.now:
                status = due[1]
                first = self.now if status.ready and not status.ready_at else status.ready_at
                self.write(
                    msgspec.structs.replace(status, at=self.now, seen=self.now, ready_at=first)
                )
                reported = True
        return reported

    def check(self) -> None:
        """What must hold at every moment; set by properties."""

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, stopping wherever something is due."""
        end = self.now + seconds
        self.settle()
        while True:
            coming = [r.wake_at for r in self._loops if r.wake_at is not None]
            for task in self.world.all(Task):
                view = self.world.task(task.id)
                due = self.agents.due(self.world, view, self.now) if view else None
                coming += [due[0]] if due else []
            following = min((at for at in coming if at > self.now), default=end)
            if following > end:
                self.now = end
                self.settle()
                return
            self.now = following
            self.settle()
            if following == end:
                return

    def remove(self, stack: str) -> None:
        """Ask for the stack's removal."""
        head = self.world.get(Stack, stack)
        assert head is not None
        self.write(msgspec.structs.replace(head, removing=True))

    def events(self, since: str = "") -> list[Event]:
        return [e for e in self.world.all(Event) if e.id > since]

    def live(self, stack: str, service: str) -> int:
        return sum(v.live for v in self.world.tasks_of(stack, service))

    def ready(self, stack: str, service: str) -> int:
        return sum(v.ready and v.wanted for v in self.world.tasks_of(stack, service))


def _place(change: Put) -> Ref:
    return Ref(table=change.record.TABLE, key=change.record.key)


def web(**fields: object) -> ServiceSpec:
    """A service spec with short test defaults."""
    base: dict[str, object] = {"name": "web", "container": ContainerSpec(image="web")}
    return ServiceSpec(**{**base, **fields})  # type: ignore[arg-type]
