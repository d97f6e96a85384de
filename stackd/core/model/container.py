"""What one container is: everything that affects a task, and so everything a revision hashes."""

import enum
from collections.abc import Mapping

import msgspec

from stackd.core.model.record import Value


class Check(enum.StrEnum):
    """How health is probed: a command in the container, or http/tcp from the node."""

    COMMAND = "command"
    HTTP = "http"
    TCP = "tcp"


class HealthCheck(Value, frozen=True, kw_only=True):
    """A health check. Times in seconds; None inherits the image's value, then Compose's default
    (interval 30, timeout 30, retries 3, start_period 0, start_interval 5)."""

    kind: Check = Check.COMMAND
    command: tuple[str, ...] = ()
    """argv as run; CMD-SHELL has become /bin/sh -c. Empty: the image's own test."""
    path: str = "/"
    port: int = 0
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None
    disabled: bool = False
    """`disable: true` or [NONE]: also the image's check is off."""


class MountKind(enum.StrEnum):
    """Where a mount's content comes from."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


class Mount(Value, frozen=True, kw_only=True):
    """A mount at `target`. `source`: volume name in the stack, or absolute host path, or ''."""

    kind: MountKind
    target: str
    source: str = ""
    read_only: bool = False
    shared: bool = False
    """Several tasks may write at once (`shared: true` on the volume)."""
    size: int = 0
    """Bytes, tmpfs only; 0 = 64 MiB."""
    mode: int = 0o1777
    """Permission bits, tmpfs only."""
    nocopy: bool = False
    subpath: str = ""


class Grant(Value, frozen=True, kw_only=True):
    """A config or secret shown to the task as a file."""

    name: str
    """The name in the stack file; the stable name in the store is in the stack's declaration."""
    target: str
    """Absolute path in the container."""
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    version: str = ""
    """The content's version id; empty in a spec, filled in a revision."""


class Ulimit(Value, frozen=True, kw_only=True):
    """soft and hard of one rlimit; -1 is unlimited (clamped to the agent's own hard limit)."""

    soft: int
    hard: int


class Resources(Value, frozen=True, kw_only=True):
    """Limits and reservations. CPUs in cores, memory in bytes; 0 = none."""

    cpus: float = 0
    memory: int = 0
    pids: int = 0
    reserve_cpus: float = 0
    reserve_memory: int = 0


class Attachment(Value, frozen=True, kw_only=True):
    """A network the task joins, by its name in the stack file, with extra DNS names there."""

    network: str
    aliases: tuple[str, ...] = ()


class ContainerSpec(Value, frozen=True, kw_only=True):
    """Everything that affects a task. A change here is a new revision.

    In a stack file's spec `image` is as written and grants have no versions; in a revision
    `image` is `name@sha256:…` and every grant names its version.
    """

    image: str
    command: tuple[str, ...] | None = None
    """Compose `command`: replaces the image's Cmd."""
    entrypoint: tuple[str, ...] | None = None
    """Compose `entrypoint`: replaces the image's Entrypoint and drops its Cmd."""
    init: bool = False
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    read_only: bool = False
    mounts: tuple[Mount, ...] = ()
    configs: tuple[Grant, ...] = ()
    secrets: tuple[Grant, ...] = ()
    networks: tuple[Attachment, ...] = ()
    healthcheck: HealthCheck | None = None
    stop_signal: str = ""
    """Name such as SIGTERM; empty = the image's, else SIGTERM."""
    stop_grace_period: float = 10.0
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    ulimits: Mapping[str, Ulimit] = msgspec.field(default_factory=dict)
    resources: Resources = Resources()
    tty: bool = False
    stdin_open: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    """`name:address` pairs."""
