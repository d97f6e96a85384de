"""Nodes that come, go, come back and are claimed twice: real gRPC on loopback, several agents."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.aio.clock import SystemClock
from stackd.core.model.event import Event
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.record import Changes, Delete, ref
from stackd.core.model.states import Leaving, NodeState, TaskState
from stackd.core.model.task import TaskDesired, TaskStatus
from stackd.errors import Refused, StackdError
from stackd.wire.agent_client import AgentLink, ManagerConnection
from stackd.wire.messages import Assigned, Beat, Hello, Report, Statuses, Welcome
from tests.component import cluster
from tests.component.cluster import Agent, Manager, until
from tests.fakes.authority import FakeAuthority
from tests.fakes.store import FakeStore

NODES = ("n1", "n2", "n3")


@pytest.fixture
def authority() -> FakeAuthority:
    return FakeAuthority()


@pytest.fixture
async def manager(tmp_path: Path, authority: FakeAuthority) -> AsyncIterator[Manager]:
    made = Manager(FakeStore(SystemClock()), authority, tmp_path)
    async with made.running():
        await made.write(
            *(cluster.member(name, number) for number, name in enumerate(NODES, 1)),
            cluster.network(),
            cluster.revision(),
        )
        yield made


def agent(manager: Manager, node: str = "n1", instance: str = "one") -> Agent:
    return Agent(node, manager.folder, manager.authority.node(node), instance)


def state(manager: Manager, node: str = "n1") -> NodeState:
    found = manager.tables.world.get(NodeStatus, node)
    return found.state if found else NodeState.UNKNOWN


def orphaned(task: str) -> tuple[TaskStatus, TaskDesired]:
    """What the manager writes of a task that it has given up."""
    given_up = TaskStatus(id=cluster.shutdown(task).id, state=TaskState.ORPHANED)
    gone = TaskDesired(id=given_up.id, state=TaskState.SHUTDOWN, stop=True, leaving=Leaving.DONE)
    return given_up, gone


@contextlib.asynccontextmanager
async def claimed(manager: Manager, node: str, instance: str) -> AsyncIterator[AgentLink]:
    """A session that beats, of another agent with the node's identity."""
    connection = ManagerConnection(manager.address, manager.authority.node(node))
    async with connection.session() as link:
        await link.send(Hello(node, instance=instance, address="192.0.2.9"))
        assert isinstance(await link.receive(), Welcome)

        async def beat() -> None:
            with contextlib.suppress(StackdError):
                while True:
                    await link.send(Beat())
                    await asyncio.sleep(0.05)

        async with cluster.background(beat()):
            yield link
    await connection.close()


async def drain(link: AgentLink) -> None:
    while True:
        await link.receive()


async def test_of_two_agents_with_one_identity_the_newer_wins(manager: Manager) -> None:
    async with claimed(manager, "n1", "older") as older:
        async with claimed(manager, "n1", "newer") as newer:
            with pytest.raises(Refused, match="connected by another, newer agent"):
                await drain(older)
            assert isinstance(await newer.receive(), Assigned)
            with pytest.raises(Refused, match="connected by another, newer agent"):
                async with claimed(manager, "n1", "older"):
                    pass
            assert "n1" in manager.dispatcher.connected
        await until(lambda: "n1" not in manager.dispatcher.connected)
        async with claimed(manager, "n1", "older"):
            assert "n1" in manager.dispatcher.connected


async def test_the_loser_lets_its_tasks_run_and_returns_when_the_newer_has_gone(
    manager: Manager,
) -> None:
    async with agent(manager).running(manager.address) as node:
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        container = node.runtime.containers["t1"]
        async with claimed(manager, "n1", "two"):
            await until(lambda: node.connections[-1] is None)
            assert node.runtime.containers["t1"] is container
        await until(lambda: node.connections[-1] is not None)
        assert node.runtime.containers["t1"] is container
        assert manager.state("t1") is TaskState.RUNNING


async def test_what_a_node_said_of_its_traffic_goes_with_it(manager: Manager) -> None:
    """A report from before says nothing of a node that comes back, and holds nobody up."""
    world = manager.tables.world

    def applied() -> int:
        found = world.get(NodeReport, "n1")
        return found.applied if found else -1

    node = agent(manager)
    async with node.running(manager.address):
        said = NodeReport(id="n1", applied=7, in_flight={"t1": 3}, problems={"a/b": "taken"})  # type: ignore[arg-type]
        node.reporter.report(said)
        await until(lambda: applied() == 7)
    await until(lambda: state(manager) is NodeState.DOWN)
    assert applied() == -1
    async with claimed(manager, "n1", "again") as link:
        await until(lambda: state(manager) is NodeState.READY)
        assert applied() == -1
        await link.send(Report(said))
        await until(lambda: applied() == 7)
    async with claimed(manager, "n1", "third"):
        assert applied() == -1


async def test_coming_and_going_are_told(manager: Manager) -> None:
    async with agent(manager).running(manager.address):
        await until(lambda: state(manager) is NodeState.READY)
    await until(lambda: state(manager) is NodeState.DOWN)
    told = [e for e in manager.tables.world.all(Event) if e.object == "n1"]
    assert [(e.kind, e.text) for e in told] == [
        ("node.ready", ""),
        ("node.down", "not heard for 1.6s"),
    ]


async def test_a_gap_that_is_short_restarts_nothing(manager: Manager) -> None:
    node = agent(manager)
    async with node.running(manager.address):
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: (s := manager.status("t1")) is not None and s.ready)
    container = node.runtime.containers["t1"]
    written = manager.tables.world.rev("status", "t1")
    await asyncio.sleep(0.5)
    async with node.running(manager.address):
        await until(lambda: "n1" in manager.dispatcher.connected)
        assert state(manager) is NodeState.READY
        assert node.runtime.containers["t1"] is container
    kinds = [e.kind for e in manager.tables.world.all(Event)]
    assert kinds == ["node.ready"]
    assert manager.tables.world.rev("status", "t1") == written


async def test_a_returning_node_stops_what_was_replaced_and_keeps_the_rest(
    manager: Manager,
) -> None:
    node = agent(manager)
    async with node.running(manager.address):
        await manager.write(*cluster.task("t1", "n1"), *cluster.task("t22", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        await until(lambda: (s := manager.status("t22")) is not None and s.ready)
    kept = node.runtime.containers["t22"]
    await until(lambda: state(manager) is NodeState.DOWN)
    await manager.write(*orphaned("t1"))
    async with node.running(manager.address):
        await until(lambda: "t1" not in node.runtime.containers)
        await until(lambda: "t1" not in node.network.attached)
        assert node.runtime.containers["t22"] is kept
        assert manager.state("t1") is TaskState.ORPHANED
        assert manager.state("t22") is TaskState.RUNNING


async def test_late_and_repeated_words_of_a_task_that_was_given_up_change_nothing(
    manager: Manager,
) -> None:
    async with claimed(manager, "n1", "one") as link:
        await manager.write(*cluster.task("t1", "n1"), *cluster.task("t22", "n1"))
        await manager.write(*orphaned("t1"))
        running = TaskStatus(id=cluster.shutdown("t1").id, state=TaskState.RUNNING, ready=True)
        other = TaskStatus(id=cluster.shutdown("t22").id, state=TaskState.STARTING)
        back = TaskStatus(id=other.id, state=TaskState.PREPARING)
        for status in (running, other, back, other, running, back):
            await link.send(Statuses((status, status)))
        await until(lambda: manager.state("t22") is TaskState.STARTING)
        last = TaskStatus(id=other.id, state=TaskState.RUNNING, ready=True)
        await link.send(Statuses((last,)))
        await until(lambda: manager.state("t22") is TaskState.RUNNING)
        assert manager.state("t1") is TaskState.ORPHANED


async def test_a_new_manager_counts_a_lost_node_as_lost_and_gives_the_others_time(
    tmp_path: Path, authority: FakeAuthority
) -> None:
    kv = FakeStore(SystemClock())
    first = Manager(kv, authority, tmp_path, heartbeat=1.0)
    agents = {name: Agent(name, tmp_path, authority.node(name)) for name in NODES[:2]}
    async with contextlib.AsyncExitStack() as stack:
        async with first.running():
            await first.write(*(cluster.member(n, i) for i, n in enumerate(NODES, 1)))
            for node in agents.values():
                await stack.enter_async_context(node.running(first.address))
            async with agent(first, "n3").running(first.address):
                await until(lambda: state(first, "n3") is NodeState.READY)
            await until(lambda: state(first, "n3") is NodeState.DOWN)
        await asyncio.sleep(1.0)  # nobody is heard meanwhile
        again = Manager(kv, authority, tmp_path, heartbeat=1.0, port=first.port)
        async with again.running():
            seen = [[state(again, name) for name in NODES]]
            assert seen == [[NodeState.READY, NodeState.READY, NodeState.DOWN]]
            await until(lambda: again.dispatcher.connected == {"n1", "n2"})
            await asyncio.sleep(3.5 * again.heartbeat)
            assert [state(again, name) for name in NODES] == seen[0]
            kinds = [e.kind for e in again.tables.world.all(Event) if e.object != "n3"]
            assert kinds == ["node.ready", "node.ready"]


async def test_a_node_that_is_no_member_any_more_holds_nobody_up(manager: Manager) -> None:
    world = manager.tables.world
    async with agent(manager).running(manager.address) as node:
        node.reporter.report(NodeReport(id="n1", applied=1, problems={"a/b": "taken"}))  # type: ignore[arg-type]
        await until(lambda: world.get(NodeReport, "n1"))
        gone = (Delete(ref=ref(type(cluster.member("n1")), "n1")),)
        await manager.tables.commit(Changes(changes=gone))
        await until(lambda: world.get(NodeReport, "n1") is None)


async def test_two_nodes_report_side_by_side(manager: Manager) -> None:
    """What is in flight is known of every node under its own name."""
    world = manager.tables.world
    async with claimed(manager, "n1", "a") as one, claimed(manager, "n2", "b") as two:
        await one.send(Report(NodeReport(id="n2", in_flight={"t1": 2})))  # type: ignore[arg-type]
        await two.send(Report(NodeReport(id="n2", in_flight={"t1": 3})))  # type: ignore[arg-type]
        await until(lambda: len(list(world.all(NodeReport))) == 2)
        found = {report.id: report.in_flight for report in world.all(NodeReport)}
        assert found == {"n1": {"t1": 2}, "n2": {"t1": 3}}
