"""What the agent and the machine below it tell each other: plain values.

Used by the protocols in `agent.drivers`, by their real sides in `host` and by fakes in tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.network import Network
from stackd.core.model.release import Revision
from stackd.core.model.task import Task


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
class NetworkView:
    """What a node's network was configured with last. `here` is the node itself."""

    here: NodeItem
    networks: tuple[Network, ...] = ()
    attachments: tuple[AttachmentItem, ...] = ()


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
    """How a container ended. `signal` 0 = it exited by itself; `lost` = its monitor died, and
    with `running` the container goes on without it; `rebooted` = its machine was restarted."""

    code: int | None
    signal: int = 0
    oom_killed: bool = False
    lost: str = ""
    running: bool = False
    rebooted: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A container that was there when the agent started. `exit` is set if it has ended, or runs
    without a monitor. `cut_off`: it ended since the agent that let its command go was killed in
    the middle of that, so the command never ran."""

    task_id: str
    running: bool
    started: bool
    pid: int
    exit: Exit | None = None
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command to run inside a running task."""

    task_id: str
    argv: tuple[str, ...]
    tty: bool = False
    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a task's output. `at` is RFC 3339 text as written; `partial`: no newline yet."""

    at: str
    stream: str
    text: bytes
    partial: bool = False


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines that were read at once."""

    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True)
class ProxyApplied:
    """The outcome of applying a table: `problems` by STACK/SERVICE; the rest is applied."""

    problems: Mapping[str, str]
