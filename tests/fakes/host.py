"""A machine without a kernel: drivers whose containers and ports do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from stackd.agent.drivers import ExecSession
from stackd.core.model.assignment import AttachmentItem, NodeItem, TrafficItem
from stackd.core.model.driver import (
    ExecRequest,
    Exit,
    Found,
    ImageConfig,
    Launch,
    LocalImage,
    LogLine,
    NetworkSetup,
)
from stackd.core.model.network import Network
from stackd.core.model.traffic import TrafficEntry
from stackd.errors import Refused, Rejected, StackdError


@dataclass
class FakeContainer:
    """One container. `stubborn`: ignores the stop signal."""

    launch: Launch
    started: bool = False
    exit: Exit | None = None
    signals: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, exit: Exit) -> None:
        """It ends now."""
        if self.exit is None:
            self.exit = exit
            self.changed.set()


class FakeExec:
    """An exec that echoes its stdin, then ends with code 7; at once if it `ends`."""

    def __init__(self, *, ends: bool = False) -> None:
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self.size = (0, 0)
        self.killed = False
        if ends:
            self._input.put_nowait(b"")

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while data := await self._input.get():
            yield 1, data

    async def write(self, data: bytes) -> None:
        await self._input.put(data)

    async def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    async def code(self) -> int:
        return 7

    async def kill(self) -> None:
        self.killed = True


class FakeRuntime:
    """Containers as entries in `containers`; `refuse[task]` makes create fail, `stubborn` tasks
    ignore everything but SIGKILL, `probes[task]` is what health commands answer."""

    def __init__(self) -> None:
        self.containers: dict[str, FakeContainer] = {}
        self.refuse: dict[str, StackdError | OSError] = {}
        self.stubborn: set[str] = set()
        self.probes: dict[str, tuple[int, str]] = {}
        self.layers: dict[str, int] = {}
        self.volumes: set[str] = set()
        self.removed: list[str] = []
        self.lines: dict[str, list[LogLine]] = {}
        self.execs: list[FakeExec] = []

    async def create(self, launch: Launch) -> int:
        task = launch.task.id
        if task in self.refuse:
            raise self.refuse[task]
        if task in self.containers:
            raise Rejected("it exists already")
        self.containers[task] = FakeContainer(launch)
        return 1000 + len(self.containers)

    async def start(self, task_id: str) -> None:
        self.containers[task_id].started = True

    async def wait(self, task_id: str) -> Exit:
        container = self.containers[task_id]
        await container.changed.wait()
        exited = container.exit
        assert exited is not None
        if exited.running:
            container.exit = None
            container.changed.clear()
        return exited

    async def signal(self, task_id: str, name: str) -> None:
        container = self.containers.get(task_id)
        if container is None:
            return
        container.signals.append(name)
        if name == "SIGKILL" or task_id not in self.stubborn:
            container.end(Exit(code=137 if name == "SIGKILL" else 143, signal=9))

    async def remove(self, task_id: str) -> None:
        self.removed.append(task_id)
        container = self.containers.pop(task_id, None)
        if container is not None:
            container.end(Exit(code=137, signal=9))

    async def written(self, task_id: str) -> int:
        return self.layers.get(task_id, 0)

    async def remove_volume(self, name: str) -> None:
        self.volumes.discard(name)

    async def found(self) -> Sequence[Found]:
        return [
            Found(task, running=c.exit is None, started=c.started, pid=1, exit=c.exit)
            for task, c in self.containers.items()
        ]

    async def exec(self, request: ExecRequest) -> ExecSession:
        if request.task_id not in self.containers:
            raise Refused("There is no such task here.", "See `stackd ps`.")
        self.execs.append(FakeExec(ends=request.argv == ("true",)))
        return self.execs[-1]

    async def probe(self, task_id: str, argv: Sequence[str], timeout: float) -> tuple[int, str]:
        return self.probes.get(task_id, (0, ""))

    async def logs(
        self, task_id: str, *, follow: bool, tail: int, since: float
    ) -> AsyncIterator[Sequence[LogLine]]:
        for line in self.lines.get(task_id, []):
            yield [line]


class FakeImages:
    """Every image is there, but for those in `missing`."""

    def __init__(self) -> None:
        self.missing: dict[str, StackdError] = {}
        self.config = ImageConfig()
        self.gate = asyncio.Event()
        self.gate.set()

    async def ensure(self, image: str) -> LocalImage:
        await self.gate.wait()
        if image in self.missing:
            raise self.missing[image]
        return LocalImage("sha256:" + "0" * 64, ("a",), self.config)


class FakeNetwork:
    """Remembers what it was told. `closed` holds (address, port) that refuse."""

    def __init__(self) -> None:
        self.networks: list[Network] = []
        self.nodes: list[NodeItem] = []
        self.attachments: list[AttachmentItem] = []
        self.attached: set[str] = set()
        self.closed: set[tuple[str, int]] = set()
        self.status = 200

    async def configure(
        self,
        networks: Sequence[Network],
        nodes: Sequence[NodeItem],
        attachments: Sequence[AttachmentItem],
    ) -> None:
        self.networks, self.nodes = list(networks), list(nodes)
        self.attachments = list(attachments)

    async def attach(
        self, task_id: str, addresses: Mapping[str, str], aliases: Sequence[str]
    ) -> NetworkSetup:
        self.attached.add(task_id)
        return NetworkSetup(f"/fake/{task_id}", addresses, "10.0.0.1")

    async def detach(self, task_id: str) -> None:
        self.attached.discard(task_id)

    async def reap(self, keep: Set[str]) -> Sequence[str]:
        unknown = sorted(self.attached - keep)
        self.attached &= keep
        return unknown

    async def route_services(self, entries: Sequence[TrafficEntry]) -> None:
        return None

    async def connections(self, addresses: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(addresses, 0)

    async def check(self) -> Sequence[str]:
        return []

    async def connect(self, task_id: str, address: str, port: int, timeout: float) -> str:
        return "connection refused" if (address, port) in self.closed else ""

    async def http_get(
        self, task_id: str, address: str, port: int, path: str, timeout: float
    ) -> tuple[int, str]:
        return self.status, ""

    async def close(self, *, purge: bool) -> None:
        return None


class FakeTraffic:
    """The newest traffic it was given."""

    def __init__(self) -> None:
        self.items: list[TrafficItem] = []
        self.revision = 0

    def wanted(self, items: Sequence[TrafficItem], revision: int) -> None:
        self.items, self.revision = list(items), revision
