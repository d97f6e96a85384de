"""A manager's dispatcher and agents in one process: real store tables, gRPC and TLS on loopback,
no kernel."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from stackd.agent.condition import Condition
from stackd.agent.machine import Machine
from stackd.agent.record import NodeRecord
from stackd.agent.reporter import Reporter
from stackd.agent.session import Hooks, Sessions
from stackd.agent.tunnels import Tunnels
from stackd.agent.worker import Voice, Worker
from stackd.aio.clock import SystemClock
from stackd.aio.ids import fresh_ids
from stackd.core.model.container import ContainerSpec, Grant
from stackd.core.model.ids import NetworkId, NodeId, RevisionId, TaskId
from stackd.core.model.network import Network
from stackd.core.model.node import Node
from stackd.core.model.record import Changes, Put, Record
from stackd.core.model.release import ContentKind, Revision
from stackd.core.model.requests import Measured
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.errors import Refused
from stackd.manager.dispatcher import Dispatcher, Surroundings
from stackd.manager.loop import Context
from stackd.store.kv import PutOp
from stackd.store.tables import Fence, Tables
from stackd.wire import tls
from stackd.wire.agent_client import ManagerConnection
from stackd.wire.agent_server import AgentServer
from stackd.wire.messages import Certificate, Hello
from tests.fakes.authority import FakeAuthority, node_of
from tests.fakes.host import FakeImages, FakeNetwork, FakeRuntime, FakeTraffic
from tests.fakes.ports import free_port
from tests.fakes.store import FakeStore

FENCE_KEY = "/test-epoch"


@dataclass
class Agent:
    """One node's agent; drivers survive it, as a machine survives its agent."""

    node: str
    folder: Path
    identity: tls.Identity
    instance: str = "one"
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    images: FakeImages = field(default_factory=FakeImages)
    network: FakeNetwork = field(default_factory=FakeNetwork)
    traffic: FakeTraffic = field(default_factory=FakeTraffic)
    reporter: Reporter = field(default_factory=Reporter)
    connections: list[ManagerConnection | None] = field(default_factory=list)
    heard: list[object] = field(default_factory=list)
    told: tuple[str, ...] = ()

    @contextlib.asynccontextmanager
    async def running(self, address: str) -> AsyncIterator["Agent"]:
        clock = SystemClock()
        machine = Machine(self.runtime, self.images, self.network, clock)
        self.reporter = Reporter()
        record = NodeRecord(self.folder / f"{self.node}.record", self.folder / "spare")
        voice = Voice(self.reporter, Condition(self.reporter, machine.clock))
        worker = Worker(machine, record, voice, self.traffic)
        hello = Hello(self.node, address="192.0.2.1", instance=self.instance)
        sessions = Sessions(hello, (address,), worker, self.reporter)
        hooks = Hooks(
            connect=lambda where: ManagerConnection(where, self.identity),
            tunnel=Tunnels(self.runtime).serve,
            jitter=lambda most: 0.0,
            renewal=_never,
            certificate=self.heard.append,
            connected=self.connections.append,
            told=lambda: self.told,
        )
        await worker.start()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(worker.run()),
                group.create_task(sessions.run(hooks, clock)),
            ]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
        record.close()


async def _never() -> bytes:
    await asyncio.get_running_loop().create_future()
    return b""


@dataclass
class Manager:
    """A leading manager on a store that outlives it."""

    kv: FakeStore
    authority: FakeAuthority
    folder: Path
    heartbeat: float = 0.5
    opened: list[str] = field(default_factory=list)
    port: int = 0
    tables: Tables = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    measured: list[tuple[str, Measured]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Manager"]:
        clock = SystemClock()
        self.tables = Tables(self.kv, clock)
        await self.tables.open()
        epoch = await self._lead()
        context = Context(self.tables, clock, fresh_ids(clock), Fence(FENCE_KEY, epoch))
        around = Surroundings(
            node_of=node_of,
            open_content=self._open,
            blob_path=self._blob,
            renew=self._renew,
            measured=lambda node, measured: self.measured.append((node, measured)),
            heartbeat=self.heartbeat,
        )
        self.dispatcher = Dispatcher(around)
        server = AgentServer(self.dispatcher, self.authority.manager())
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.tables.run()),
                group.create_task(self.dispatcher.run(context)),
            ]
            await asyncio.sleep(0)
            self.port = await server.start(f"127.0.0.1:{self.port or free_port()}")
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await server.stop()

    async def _lead(self) -> int:
        return (await self.kv.txn((), [PutOp(FENCE_KEY, b"")])).revision

    def _open(self, kind: ContentKind, name: str, version: str) -> bytes:
        self.opened.append(f"{kind}/{name}/{version}")
        return f"value of {name}".encode()

    def _blob(self, digest: str) -> Path:
        path = self.folder / digest.removeprefix("sha256:")
        if not path.is_file():
            raise Refused(f"There is no blob {digest}.", "Load the image again.")
        return path

    async def _renew(self, node: str, csr: bytes) -> Certificate:
        return Certificate(b"certificate of " + node.encode(), self.authority.pem)

    async def write(self, *records: Record) -> None:
        await self.tables.commit(Changes(changes=tuple(Put(record=r) for r in records)))

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition)

    def status(self, task: str) -> TaskStatus | None:
        return self.tables.world.get(TaskStatus, task)

    def state(self, task: str) -> TaskState:
        found = self.status(task)
        return found.state if found else TaskState.NEW


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; the test's own time limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110  (the condition is of many parts)
        await asyncio.sleep(0.005)


def member(node: str, index: int = 1) -> Node:
    return Node(id=NodeId(node), name=node, index=index)


def network(name: str = "net1") -> Network:
    return Network(id=NetworkId(name), name=name, vni=4097, subnet="10.1.0.0/24")


def revision(number: str = "r1", **container: object) -> Revision:
    spec = ContainerSpec(image="app@sha256:" + "1" * 64, **container)  # type: ignore[arg-type]
    return Revision(stack="shop", service="web", id=RevisionId(number), container=spec)


def with_secret(name: str = "key") -> Revision:
    grant = Grant(name=name, target=f"/run/secrets/{name}", version="v1")
    return revision("r2", secrets=(grant,))


def task(name: str, node: str, revision_id: str = "r1", **values: object) -> list[Record]:
    addresses = {"net1": f"10.1.0.{10 + len(name)}"}
    made = Task(
        id=TaskId(name),
        stack="shop",
        service="web",
        slot="1",
        revision=RevisionId(revision_id),
        node=node,
        addresses=addresses,
        **{"monitor": 0.05, **values},  # type: ignore[arg-type]
    )
    return [
        made,
        TaskDesired(id=made.id),
        TaskStatus(id=made.id, state=TaskState.ASSIGNED),
    ]


def shutdown(name: str) -> TaskDesired:
    return TaskDesired(id=TaskId(name), state=TaskState.SHUTDOWN)


@contextlib.asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` while the block lasts."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(work)
        yield
        running.cancel()
