"""Manager and agents over real gRPC and TLS: from assignment to running, and what goes wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stackd.aio.clock import SystemClock
from stackd.core.model.api import ExecFrame, LogsRequest
from stackd.core.model.driver import Exit, LogLine, LogPage
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.record import Changes, Delete, ref
from stackd.core.model.requests import Count, Measured
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.task import TaskStatus
from stackd.core.model.traffic import IngressPort, TrafficEntry
from stackd.errors import Refused, Rejected, Unavailable
from stackd.wire import codec
from stackd.wire.agent_client import AgentLink, ManagerConnection
from stackd.wire.messages import AskFull, Assigned, Hello, Requests, Statuses, Welcome
from tests.component import cluster
from tests.component.cluster import Agent, Manager, until
from tests.fakes.authority import FakeAuthority
from tests.fakes.host import FakeContainer
from tests.fakes.store import FakeStore


@pytest.fixture
def authority() -> FakeAuthority:
    return FakeAuthority()


@pytest.fixture
async def manager(tmp_path: Path, authority: FakeAuthority) -> AsyncIterator[Manager]:
    made = Manager(FakeStore(SystemClock()), authority, tmp_path)
    async with made.running():
        await made.write(
            cluster.member("n1"),
            cluster.member("n2", 2),
            cluster.network(),
            cluster.revision(),
            cluster.with_secret(),
        )
        yield made


def agent(manager: Manager, node: str = "n1", instance: str = "one") -> Agent:
    return Agent(node, manager.folder, manager.authority.node(node), instance)


async def test_task_runs_and_stops(manager: Manager) -> None:
    async with agent(manager).running(manager.address) as node:
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: (s := manager.status("t1")) is not None and s.ready)
        status = manager.status("t1")
        assert status is not None
        assert status.state is TaskState.RUNNING
        assert status.ready_at > 0
        assert node.network.attached == {"t1"}
        await manager.write(cluster.shutdown("t1"))
        await until(lambda: manager.state("t1") is TaskState.SHUTDOWN)
        assert node.runtime.containers == {}
        assert node.network.attached == set()


async def test_node_is_ready_with_growing_epoch(manager: Manager) -> None:
    def registered() -> tuple[int, NodeState]:
        found = manager.tables.world.get(NodeStatus, "n1")
        return (found.epoch, found.state) if found else (0, NodeState.UNKNOWN)

    node = agent(manager)
    async with node.running(manager.address):
        await until(lambda: registered() == (1, NodeState.READY))
    async with node.running(manager.address):
        await until(lambda: registered() == (2, NodeState.READY))


async def test_failure_is_told_with_its_cause(manager: Manager) -> None:
    async with agent(manager).running(manager.address) as node:
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        node.runtime.containers["t1"].end(Exit(code=3))
        await until(lambda: manager.state("t1") is TaskState.FAILED)
        status = manager.status("t1")
        assert status is not None
        assert (status.error, status.exit_code) == ("exit code 3", 3)


async def test_rejected_before_start(manager: Manager) -> None:
    async with agent(manager).running(manager.address) as node:
        node.runtime.refuse["t1"] = Rejected("no such command: /bin/nothing")
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.REJECTED)
        status = manager.status("t1")
        assert status is not None
        assert status.error == "no such command: /bin/nothing"
        assert node.network.attached == set()


async def test_agent_restart_adopts_and_reaps(manager: Manager) -> None:
    node = agent(manager)
    async with node.running(manager.address):
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: (s := manager.status("t1")) is not None and s.ready)
    container = node.runtime.containers["t1"]
    node.runtime.containers["stranger"] = FakeContainer(container.launch, started=True)
    async with node.running(manager.address):
        assert "stranger" not in node.runtime.containers
        assert node.runtime.containers["t1"] is container
        await manager.write(cluster.shutdown("t1"))
        await until(lambda: manager.state("t1") is TaskState.SHUTDOWN)


async def test_agent_goes_on_without_manager(manager: Manager, tmp_path: Path) -> None:
    node = agent(manager)
    async with node.running(manager.address):
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: (s := manager.status("t1")) is not None and s.ready)
    async with node.running("127.0.0.1:1"):
        await until(lambda: "t1" in node.reporter.statuses)
        node.runtime.containers["t1"].end(Exit(code=None, signal=11))
        await until(lambda: node.reporter.statuses["t1"].state is TaskState.FAILED)
    async with node.running(manager.address):
        await until(lambda: manager.state("t1") is TaskState.FAILED)
        status = manager.status("t1")
        assert status is not None
        assert status.error == "killed by SIGSEGV"


async def test_agent_finds_a_manager_that_has_moved(manager: Manager) -> None:
    async with agent(manager).running("127.0.0.1:1") as node:
        node.told = (manager.address,)
        await until(lambda: manager.tables.world.get(NodeStatus, "n1"))


async def test_vanished_container_is_failed(manager: Manager) -> None:
    node = agent(manager)
    async with node.running(manager.address):
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
    node.runtime.containers.clear()
    async with node.running(manager.address):
        await until(lambda: manager.state("t1") is TaskState.FAILED)


async def test_manager_restart(tmp_path: Path, authority: FakeAuthority) -> None:
    kv = FakeStore(SystemClock())
    manager = Manager(kv, authority, tmp_path)
    node = Agent("n1", tmp_path, authority.node("n1"))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(manager.running())
        await manager.write(cluster.member("n1"), cluster.network(), cluster.revision())
        async with node.running(manager.address):
            await manager.write(*cluster.task("t1", "n1"))
            await until(lambda: (s := manager.status("t1")) is not None and s.ready)
            container = node.runtime.containers["t1"]
            await first.aclose()
            again = Manager(kv, authority, tmp_path, port=manager.port)
            await stack.enter_async_context(again.running())
            await until(lambda: again.dispatcher.connected)
            assert again.state("t1") is TaskState.RUNNING
            await again.write(*cluster.task("t22", "n1"))
            await until(lambda: again.state("t22") is TaskState.RUNNING)
            assert node.runtime.containers["t1"] is container


async def test_silent_node_is_down_and_comes_back(manager: Manager) -> None:
    def state() -> NodeState:
        found = manager.tables.world.get(NodeStatus, "n1")
        return found.state if found else NodeState.UNKNOWN

    node = agent(manager)
    async with node.running(manager.address):
        await until(lambda: state() is NodeState.READY)
    assert state() is NodeState.READY
    await until(lambda: state() is NodeState.DOWN)
    async with node.running(manager.address):
        await until(lambda: state() is NodeState.READY)


async def drain(link: AgentLink) -> None:
    while True:
        await link.receive()


async def test_session_of_a_silent_agent_is_ended(manager: Manager) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n1"))
    async with connection.session() as link:
        await link.send(Hello("n1", address="192.0.2.1"))
        assert isinstance(await link.receive(), Welcome)
        assert isinstance(await link.receive(), Assigned)
        with pytest.raises(Unavailable, match="ended the session"):
            await drain(link)
    found = manager.tables.world.get(NodeStatus, "n1")
    assert found is not None
    assert (found.state, found.message) == (NodeState.DOWN, "not heard for 1.6s")
    await connection.close()


async def test_sequence_gap_is_healed(manager: Manager) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n1"))
    async with connection.session() as link:
        await link.send(Hello("n1", address="192.0.2.1"))
        assert isinstance(await link.receive(), Welcome)
        first = await link.receive()
        assert isinstance(first, Assigned)
        assert first.assignment.full
        await manager.write(*cluster.task("t1", "n1"))
        second = await link.receive()
        assert isinstance(second, Assigned)
        assert second.assignment.applies_to == first.assignment.sequence
        assert not second.assignment.full
        await link.send(AskFull())
        third = await link.receive()
        assert isinstance(third, Assigned)
        assert third.assignment.full
        assert {item.key for item in third.assignment.put} >= {"t1", "net1", "n1"}
    await connection.close()


async def test_secret_goes_only_to_the_granted_node(manager: Manager) -> None:
    one, two = agent(manager, "n1"), agent(manager, "n2")
    async with one.running(manager.address), two.running(manager.address):
        await manager.write(*cluster.task("t1", "n1", "r2"), *cluster.task("t22", "n2"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        await until(lambda: manager.state("t22") is TaskState.RUNNING)
        assert manager.opened == ["secret/shop_key/v1"]
        files = one.runtime.containers["t1"].launch.files
        assert [(f.target, f.value, f.secret) for f in files] == [
            ("/run/secrets/key", b"value of shop_key", True)
        ]
    for node in ("n1", "n2"):
        assert b"value of" not in (manager.folder / f"{node}.record").read_bytes()


async def test_requests_reach_whoever_analyses_with_the_node_that_saw_them(
    manager: Manager,
) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n2"))
    grown = Count(stack="s", service="w", revision=RevisionId("r1"), requests=3, errors=1)
    async with connection.session() as link:
        await link.send(Hello("n2"))
        await link.send(Requests(Measured(counts=(grown,))))
        await until(lambda: manager.measured == [("n2", Measured(counts=(grown,)))])
    await connection.close()


async def test_foreign_and_backward_reports_change_nothing(manager: Manager) -> None:
    connection = ManagerConnection(manager.address, manager.authority.node("n2"))
    async with agent(manager).running(manager.address), connection.session() as link:
        await manager.write(*cluster.task("t1", "n1"), *cluster.task("t22", "n2"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        await link.send(Hello("n2"))
        lie = TaskStatus(id=TaskId("t1"), state=TaskState.FAILED, error="x")
        orphan = TaskStatus(id=TaskId("t22"), state=TaskState.ORPHANED)
        await link.send(Statuses((lie, orphan)))
        true = TaskStatus(id=TaskId("t22"), state=TaskState.STARTING)
        await link.send(Statuses((true,)))
        await until(lambda: manager.state("t22") is TaskState.STARTING)
        back = TaskStatus(id=TaskId("t22"), state=TaskState.PREPARING)
        long = TaskStatus(id=TaskId("t22"), state=TaskState.RUNNING, error="e" * 10_000)
        await link.send(Statuses((back,)))
        await link.send(Statuses((long,)))
        await until(lambda: manager.state("t22") is TaskState.RUNNING)
        status = manager.status("t22")
        assert status is not None
        assert len(status.error) == 4096
        assert manager.state("t1") is TaskState.RUNNING
    await connection.close()


async def test_report_is_kept_under_the_senders_name(manager: Manager) -> None:
    async with agent(manager).running(manager.address) as node:
        node.reporter.report(NodeReport(id="n2", applied=5))  # type: ignore[arg-type]
        await until(lambda: manager.tables.world.get(NodeReport, "n1"))
        assert manager.tables.world.get(NodeReport, "n2") is None


async def test_traffic_reaches_every_node_that_publishes(manager: Manager) -> None:
    async with agent(manager, "n2").running(manager.address) as node:
        entry = TrafficEntry(
            stack="shop",
            service="web",
            ports=(IngressPort(published=80, target=8080),),
            ingress_network="net1",
        )
        await manager.write(entry)
        await until(lambda: [item.entry for item in node.traffic.items] == [entry])
        await until(lambda: [n.id for n in node.network.networks] == ["net1"])
        internal = TrafficEntry(stack="shop", service="db", vips={"other": "10.9.0.2"})
        await manager.write(internal)
        written = manager.tables.world.rev("traffic", "shop/db")
        await until(lambda: node.traffic.revision >= written)
        assert [item.entry for item in node.traffic.items] == [entry]


async def test_removed_node_is_cut(manager: Manager) -> None:
    async with agent(manager).running(manager.address):
        await until(lambda: "n1" in manager.dispatcher.connected)
        gone = Delete(ref=ref(type(cluster.member("n1")), "n1"))
        await manager.tables.commit(Changes(changes=(gone,)))
        await until(lambda: "n1" not in manager.dispatcher.connected)


async def test_blob(manager: Manager) -> None:
    data = bytes(range(256)) * 8192
    (manager.folder / "abc").write_bytes(data)
    connection = ManagerConnection(manager.address, manager.authority.node("n1"))
    assert b"".join([chunk async for chunk in connection.blob("sha256:abc")]) == data
    with pytest.raises(Refused, match="There is no blob sha256:none"):
        _ = [chunk async for chunk in connection.blob("sha256:none")]
    await connection.close()


async def test_exec_over_a_tunnel(manager: Manager) -> None:
    async with agent(manager).running(manager.address):
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        request = codec.encode(ExecFrame(task="t1", argv=("cat",)))
        async with manager.dispatcher.open_tunnel("n1", "exec", request) as pipe:
            await pipe.send(codec.encode(ExecFrame(data=b"hello")))
            first = await pipe.receive()
            assert first is not None
            assert codec.decode(first, ExecFrame).data == b"hello"
            await pipe.send(codec.encode(ExecFrame(end=True)))
            last = [codec.decode(value, ExecFrame) async for value in pipe.values()]
            assert [frame.code for frame in last] == [7]


async def test_exec_that_ends_before_its_stdin(manager: Manager) -> None:
    async with agent(manager).running(manager.address):
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        request = codec.encode(ExecFrame(task="t1", argv=("true",)))
        for _ in range(50):
            async with manager.dispatcher.open_tunnel("n1", "exec", request) as pipe:
                last = [codec.decode(value, ExecFrame) async for value in pipe.values()]
                assert [frame.code for frame in last] == [7]


async def test_exec_whose_caller_goes_is_killed(manager: Manager) -> None:
    async with agent(manager).running(manager.address) as node:
        await manager.write(*cluster.task("t1", "n1"))
        await until(lambda: manager.state("t1") is TaskState.RUNNING)
        request = codec.encode(ExecFrame(task="t1", argv=("cat",)))
        async with manager.dispatcher.open_tunnel("n1", "exec", request):
            await until(lambda: len(node.runtime.execs) == 1)
        await until(lambda: node.runtime.execs[0].killed)


async def test_exec_failure_and_absent_node(manager: Manager) -> None:
    async with agent(manager).running(manager.address):
        await until(lambda: "n1" in manager.dispatcher.connected)
        request = codec.encode(ExecFrame(task="none", argv=("cat",)))
        async with manager.dispatcher.open_tunnel("n1", "exec", request) as pipe:
            with pytest.raises(Refused, match="no such task"):
                await pipe.receive()
    with pytest.raises(Unavailable, match="not connected"):
        async with manager.dispatcher.open_tunnel("n2", "exec", request):
            pass


async def test_logs_over_a_tunnel(manager: Manager) -> None:
    async with agent(manager).running(manager.address) as node:
        await until(lambda: "n1" in manager.dispatcher.connected)
        lines = [LogLine("2026-01-01T00:00:00Z", "stdout", b"x" * 1000) for _ in range(5000)]
        node.runtime.lines["t1"] = lines
        request = codec.encode(LogsRequest(name="t1"))
        async with manager.dispatcher.open_tunnel("n1", "logs", request) as pipe:
            await asyncio.sleep(0.05)  # the agent must wait for a reader, not gather
            pages = [codec.decode(value, LogPage) async for value in pipe.values()]
            got = [line for page in pages for line in page.lines]
        assert got == lines
