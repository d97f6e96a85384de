"""A small world of one service and a store that gives revisions: for tests of table and drains."""

import itertools
from collections.abc import Mapping

import msgspec

from stackd.core.model.container import Attachment, ContainerSpec
from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.ids import NetworkId, NodeId, RevisionId, TaskId
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.record import Put, Record
from stackd.core.model.release import Release, ServiceRelease, Stack
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import AppProtocol, NetworkSpec, Port, ServiceSpec, StackSpec
from stackd.core.model.states import Leaving, NodeState, TaskState
from stackd.core.model.strategy import Strategy
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.traffic import TOTAL, TrafficEntry
from stackd.core.model.world import World
from stackd.core.traffic import drain, effective, table

KEY = "shop/web"
NET = NetworkId("net00001")


class Town:
    """One service `shop/web` on some nodes. Loops are turned by hand, time is a number."""

    def __init__(self, nodes: int = 1, drain_timeout: float = 30.0) -> None:
        self.world = World()
        self.written: list[Record] = []
        self.now = 1_000.0
        self.drain_timeout = drain_timeout
        self.nodes = [NodeId(f"n{i}") for i in range(nodes)]
        self._ids = (f"id{n:010d}" for n in itertools.count())
        self.put(Network(id=NET, name="shop_default", stack="shop", vni=1, subnet="10.0.0.0/24"))
        self.put(ServiceAddresses(stack="shop", service="web", vips={NET: "10.0.0.200"}))
        self.declare()
        for node in self.nodes:
            self.put(NodeStatus(id=node, state=NodeState.READY, epoch=1))

    def put(self, *records: Record) -> None:
        """Write as one transaction."""
        self.written += records
        self.world.revision += 1
        for record in records:
            self.world.apply(record, self.world.revision)

    def declare(self, **fields: object) -> None:
        """The service's spec, or that the stack no longer has it (`gone=True`)."""
        services: dict[str, ServiceRelease] = {}
        if not fields.pop("gone", False):
            spec = ServiceSpec(
                name="web",
                container=ContainerSpec(image="x", networks=(Attachment(network="default"),)),
                ports=(Port(target=80, published=8080, protocol=AppProtocol.HTTP),),
                strategy=Strategy(drain_timeout=self.drain_timeout),
            )
            spec = msgspec.structs.replace(spec, **fields)
            services["web"] = ServiceRelease(spec=spec, revision=RevisionId("r1"))
        networks = {"default": NetworkSpec(name="shop_default")}
        whole = StackSpec(
            name="shop", services={n: s.spec for n, s in services.items()}, networks=networks
        )
        self.put(
            Release(stack="shop", number=1, spec=whole, services=services),
            Stack(name="shop", owner="cli", release=1),
        )

    def task(self, name: str, revision: str = "r1", *, ready: bool = True) -> None:
        """A running task."""
        number = len(self.world.tasks_of("shop", "web"))
        self.put(
            Task(
                id=TaskId(name),
                stack="shop",
                service="web",
                slot=str(number),
                revision=RevisionId(revision),
                node=self.nodes[number % len(self.nodes)],
                addresses={NET: f"10.0.0.{number + 10}"},
            ),
            TaskDesired(id=TaskId(name)),
        )
        self.status(name, ready=ready)

    def status(
        self, name: str, *, ready: bool = True, state: TaskState = TaskState.RUNNING
    ) -> None:
        self.put(TaskStatus(id=TaskId(name), state=state, ready=ready))

    def stop(self, *names: str) -> None:
        for name in names:
            self.put(msgspec.structs.replace(self.desired(name), stop=True))

    def weights(self, weights: Mapping[str, int]) -> None:
        self.put(ServiceState(stack="shop", service="web", weights=weights))

    def desired(self, name: str) -> TaskDesired:
        view = self.world.task(name)
        assert view is not None
        return view.desired

    def leaving(self, name: str) -> Leaving:
        return self.desired(name).leaving

    @property
    def entry(self) -> TrafficEntry:
        found = self.world.get(TrafficEntry, KEY)
        assert found is not None
        return found

    @property
    def states(self) -> dict[str, str]:
        """Task -> its state in the table."""
        found = self.world.get(TrafficEntry, KEY)
        return {e.task: e.state.value for e in found.endpoints} if found else {}

    def turn_table(self) -> int:
        """One pass of the traffic loop; how many writes it made."""
        return self._write(table.decide(self.world, Dirty(), self.now, lambda: next(self._ids)))

    def turn_drains(self) -> int:
        """One pass of the drain loop; how many writes it made."""
        made = drain.decide(self.world, Dirty(), self.now, lambda: next(self._ids))
        self.wake_at = made.wake_at
        return self._write(made)

    def _write(self, decision: Decision) -> int:
        count = 0
        for commit in decision.commits:
            self.world.revision += 1
            for change in commit.changes:
                count += 1
                if isinstance(change, Put):
                    self.world.apply(change.record, self.world.revision)
                else:
                    self.world.remove(change.ref.table, change.ref.key)
        return count

    def report(self, node: str, in_flight: Mapping[str, int] | None = None) -> None:
        """The node has applied and counted all there is."""
        revision = self.world.revision
        self.world.apply(
            NodeReport(
                id=NodeId(node), applied=revision, counted=revision, in_flight=in_flight or {}
            ),
            0,
        )

    def report_all(self) -> None:
        for node in self.nodes:
            self.report(node)

    def settle(self) -> None:
        """Turn both loops until neither has anything to write."""
        while self.turn_drains() + self.turn_table():
            self.check()

    def check(self) -> None:
        """What must hold of every table."""
        entry = self.world.get(TrafficEntry, KEY)
        if entry is not None:
            given = effective.weights(entry)
            assert sum(given.values()) in (0, TOTAL)
