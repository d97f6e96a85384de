"""What a node does with its assignment, without a kernel."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from stackd.agent.condition import Condition
from stackd.agent.machine import Machine
from stackd.agent.record import NodeRecord
from stackd.agent.reporter import Reporter
from stackd.agent.worker import Voice, Worker
from stackd.aio.clock import ManualClock, settle
from stackd.core.model.assignment import (
    Assignment,
    AttachmentItem,
    Item,
    NetworkItem,
    NodeItem,
    TaskItem,
)
from stackd.core.model.container import ContainerSpec
from stackd.core.model.driver import NetworkSetup
from stackd.core.model.ids import NetworkId, RevisionId, TaskId
from stackd.core.model.network import Network
from stackd.core.model.release import Revision
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired
from stackd.errors import Rejected
from tests.fakes.host import FakeImages, FakeNetwork, FakeRuntime, FakeTraffic


class SlowNetwork(FakeNetwork):
    """Configures when it is told to; tasks of other networks are rejected."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Semaphore(0)

    async def configure(
        self,
        networks: Sequence[Network],
        nodes: Sequence[NodeItem],
        attachments: Sequence[AttachmentItem],
    ) -> None:
        await self.go.acquire()
        await super().configure(networks, nodes, attachments)

    async def attach(
        self, task_id: str, addresses: Mapping[str, str], aliases: Sequence[str]
    ) -> NetworkSetup:
        if not set(addresses) <= {network.id for network in self.networks}:
            raise Rejected("The network is not set up on this node.")
        return await super().attach(task_id, addresses, aliases)


def items(name: str) -> tuple[Item, ...]:
    """A task in a network of its own."""
    network = Network(id=NetworkId(f"net-{name}"), name=name, vni=1, subnet="10.0.0.0/24")
    task = Task(
        id=TaskId(name),
        stack="s",
        service=name,
        slot="1",
        revision=RevisionId("r1"),
        addresses={network.id: "10.0.0.9"},
    )
    revision = Revision(
        stack="s", service=name, id=RevisionId("r1"), container=ContainerSpec(image="a@sha256:1")
    )
    desired = TaskDesired(id=task.id, state=TaskState.RUNNING)
    return NetworkItem(network=network), TaskItem(task=task, desired=desired, revision=revision)


async def test_a_task_waits_for_its_network_also_while_others_are_made(tmp_path: Path) -> None:
    network, reporter = SlowNetwork(), Reporter()
    clock = ManualClock()
    machine = Machine(FakeRuntime(), FakeImages(), network, clock)
    record = NodeRecord(tmp_path / "record", tmp_path / "spare")
    worker = Worker(machine, record, Voice(reporter, Condition(reporter, clock)), FakeTraffic())
    network.go.release()
    await worker.start()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        full = Assignment(full=True, applies_to=0, sequence=1, epoch=1, put=items("a"))
        assert worker.take(full)
        await settle()  # the first network is being made
        more = Assignment(full=False, applies_to=1, sequence=2, epoch=1, put=items("b"))
        assert worker.take(more)
        network.go.release()
        await settle()
        assert reporter.statuses["a"].state is TaskState.RUNNING
        assert "b" not in network.attached
        network.go.release()
        await settle()
        assert reporter.statuses["b"].state is TaskState.RUNNING, reporter.statuses["b"].error
        running.cancel()
