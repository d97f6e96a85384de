"""What the agent needs of a machine, as small protocols: real ones in `host`, fakes in tests."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.network import Network
from stackd.core.model.release import Revision
from stackd.core.model.task import Task
from stackd.core.model.traffic import TrafficEntry


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What the image itself says, from its OCI config. Times in seconds."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    health_test: tuple[str, ...] = ()
    """argv as run, empty = none."""
    health_interval: float = 0
    health_timeout: float = 0
    health_retries: int = 0
    health_start_period: float = 0


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image whose layers are unpacked on this node; `layers` are diffIDs, lowest first."""

    digest: str
    layers: tuple[str, ...]
    config: ImageConfig


class Images(Protocol):
    """Makes images present on the node."""

    async def ensure(self, image: str) -> LocalImage:
        """Fetch, verify and unpack `name@sha256:…` unless it is there.

        Raises Rejected when it cannot be had or is not sound, Unavailable to try again.
        """
        ...


@dataclass(frozen=True, slots=True)
class NetworkSetup:
    """A task's network namespace, ready to be joined."""

    netns: str
    """Path of the namespace file."""
    hosts: Mapping[str, str]
    """Network id -> own address."""
    resolver: str
    """Address of the resolver for /etc/resolv.conf."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A config or secret as a file in the container. uid/gid/mode None = the default rule."""

    target: str
    value: bytes
    secret: bool
    uid: int | None
    gid: int | None
    mode: int | None


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything needed to make one container."""

    task: Task
    revision: Revision
    image: LocalImage
    network: NetworkSetup
    files: tuple[FileContent, ...]
    volumes: Mapping[str, str]
    """Volume name in the stack file -> cluster-wide name."""
    hostname: str


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended. `signal` 0 = it exited by itself; `lost` = its monitor died."""

    code: int | None
    signal: int = 0
    oom_killed: bool = False
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A container that was there when the agent started. `exit` is set if it has ended."""

    task_id: str
    running: bool
    started: bool
    pid: int
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command to run inside a running task."""

    task_id: str
    argv: tuple[str, ...]
    tty: bool = False
    rows: int = 24
    columns: int = 80


class ExecSession(Protocol):
    """A running exec. The end of `output` is followed by `code`."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Chunks of (1 stdout | 2 stderr, bytes); with a tty all is stdout."""
        ...

    async def write(self, data: bytes) -> None:
        """To the command's stdin; b'' closes it."""
        ...

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its new size."""
        ...

    async def code(self) -> int:
        """The command's exit code; 126 not executable, 127 not found, 128+n killed by signal n.
        Raises Refused when the runtime itself failed."""
        ...


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a task's output. `at` is RFC 3339 text as written; `partial`: no newline yet."""

    at: str
    stream: str
    text: bytes
    partial: bool = False


class Runtime(Protocol):
    """Containers on this node."""

    async def create(self, launch: Launch) -> int:
        """Root file system, mounts, bundle, container created but not started; returns its pid.
        Raises Rejected with the cause in one sentence; leaves nothing behind then."""
        ...

    async def start(self, task_id: str) -> None:
        """Let the created container run. Raises Rejected."""
        ...

    async def wait(self, task_id: str) -> Exit:
        """Return when the container has ended (may be called again, also after adoption)."""
        ...

    async def signal(self, task_id: str, name: str) -> None:
        """Send a signal by name; nothing happens if it has ended."""
        ...

    async def remove(self, task_id: str) -> None:
        """Kill whatever is left and remove every trace but the log. Never fails half-way:
        calling it again goes on."""
        ...

    async def found(self) -> Sequence[Found]:
        """What this node's cgroups, bundles and exit files show; adopts what runs."""
        ...

    async def exec(self, request: ExecRequest) -> ExecSession:
        """Start a command in the task. Raises Refused."""
        ...

    async def probe(self, task_id: str, argv: Sequence[str], timeout: float) -> tuple[int, str]:
        """Run a health command; (exit code, last 4 KiB of output). Code -1 = timed out."""
        ...

    def logs(
        self, task_id: str, *, follow: bool, tail: int, since: float
    ) -> AsyncIterator[LogLine]:
        """The task's kept lines. `tail` < 0 = all; `since` Unix seconds, 0 = all."""
        ...


class NodeNetwork(Protocol):
    """Overlay networks, addresses, virtual addresses and isolation on this node."""

    async def configure(
        self,
        networks: Sequence[Network],
        nodes: Sequence[NodeItem],
        attachments: Sequence[AttachmentItem],
    ) -> None:
        """Make exactly these networks, peers and neighbours true (idempotent, O(change))."""
        ...

    async def attach(
        self, task_id: str, addresses: Mapping[str, str], aliases: Sequence[str]
    ) -> NetworkSetup:
        """A namespace for the task with these addresses. Raises Rejected."""
        ...

    async def detach(self, task_id: str) -> None:
        """Remove the task's namespace, links, neighbours and conntrack entries."""
        ...

    async def route_services(self, entries: Sequence[TrafficEntry]) -> None:
        """Make the VIP slot map show exactly these entries; returns once the kernel has it."""
        ...

    async def connections(self, addresses: Sequence[str]) -> Mapping[str, int]:
        """Address -> connections through VIPs that this node still tracks to it."""
        ...

    async def check(self) -> Sequence[str]:
        """Compare with the kernel and repair; one sentence for each thing repaired."""
        ...

    async def connect(self, task_id: str, address: str, port: int, timeout: float) -> str:
        """Try one TCP connection to the task's own address; '' or why it failed."""
        ...

    async def http_get(
        self, task_id: str, address: str, port: int, path: str, timeout: float
    ) -> tuple[int, str]:
        """(status, '') of one GET to the task's own address, or (0, why). Reads <= 4 KiB, no
        redirects followed."""
        ...

    async def close(self, *, purge: bool) -> None:
        """Leave everything running, or remove every trace of this node's networks."""
        ...


@dataclass(frozen=True, slots=True)
class ProxyApplied:
    """The outcome of applying a table: `problems` by STACK/SERVICE; the rest is applied."""

    problems: Mapping[str, str]


class Proxy(Protocol):
    """The ingress of this node."""

    async def apply(self, entries: Sequence[TrafficEntry]) -> ProxyApplied:
        """Make the ingress show exactly these entries; returns after ack and barrier: every
        request accepted from now on follows them. In make-before-break order (see xds)."""
        ...

    async def in_flight(self, entries: Sequence[TrafficEntry]) -> Mapping[str, int]:
        """Task id -> active requests and connections, for each draining endpoint (0 included)."""
        ...

    async def close(self, *, stop: bool) -> None:
        """Stop serving xDS; with `stop` also stop the proxy itself."""
        ...
