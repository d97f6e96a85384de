"""What the agent needs of a machine, as small protocols: real ones in `host`, fakes in tests.

The values that cross these borders are in `core.model.driver` and re-exported here.
"""

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from typing import Protocol

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.driver import (
    ExecRequest,
    Exit,
    FileContent,
    Found,
    ImageConfig,
    Launch,
    LocalImage,
    LogLine,
    NetworkSetup,
    ProxyApplied,
)
from stackd.core.model.network import Network
from stackd.core.model.traffic import TrafficEntry

__all__ = [
    "ExecRequest",
    "ExecSession",
    "Exit",
    "FileContent",
    "Found",
    "ImageConfig",
    "Images",
    "Launch",
    "LocalImage",
    "LogLine",
    "NetworkSetup",
    "NodeNetwork",
    "Proxy",
    "ProxyApplied",
    "Runtime",
]


class Images(Protocol):
    """Makes images present on the node."""

    async def ensure(self, image: str) -> LocalImage:
        """Fetch, verify and unpack `name@sha256:…` unless it is there.

        Raises Rejected when it cannot be had or is not sound, Unavailable to try again.
        """
        ...


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

    async def kill(self) -> None:
        """End the command, if it has not ended, and let go of everything."""
        ...


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

    async def written(self, task_id: str) -> int:
        """Bytes on disk of the task's writable layer; 0 when it has gone. Raises Unavailable."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a named volume of this node with its data; nothing happens when there is none.
        Raises Unavailable when something of it is left."""
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
    ) -> AsyncIterator[Sequence[LogLine]]:
        """The task's kept lines, some at once. `tail` < 0 = all; `since` Unix seconds, 0 = all."""
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
        """A namespace for the task with these addresses. Raises Rejected, Unavailable to try
        again."""
        ...

    async def detach(self, task_id: str) -> None:
        """Remove the task's namespace, links, neighbours and conntrack entries."""
        ...

    async def reap(self, keep: Set[str]) -> Sequence[str]:
        """Detach every task that a former agent left and that is not in `keep`; which."""
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


class Proxy(Protocol):
    """The ingress of this node."""

    async def apply(self, entries: Sequence[TrafficEntry]) -> ProxyApplied:
        """Make the ingress show exactly these entries; returns after ack and barrier: every
        request accepted from now on follows them. In make-before-break order (see xds)."""
        ...

    async def doubtful(self) -> None:
        """Return when the ingress no longer shows what was applied: apply it again."""
        ...

    async def in_flight(self, entries: Sequence[TrafficEntry]) -> Mapping[str, int]:
        """Task id -> active requests and connections, for each draining endpoint (0 included)."""
        ...

    async def close(self, *, stop: bool) -> None:
        """Stop serving xDS; with `stop` also stop the proxy itself."""
        ...
