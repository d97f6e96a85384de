"""Requests and answers of the control API: what the command line sends, prints and scripts read.

Answers keep every key (no default is left out), snake_case and stable: `-o json` prints them as
they are. Requests may grow fields with defaults.
"""

from collections.abc import Mapping

import msgspec

from stackd.core.model.record import Value
from stackd.core.model.stack import StackSpec


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything the API answers: all keys are always there."""


class Empty(Value, frozen=True, kw_only=True):
    """Nothing to say."""


class Text(Answer, frozen=True, kw_only=True):
    """One sentence for people."""

    text: str


class NameRequest(Value, frozen=True, kw_only=True):
    """A request about one named thing: STACK, STACK/SERVICE, task, node, network, image…"""

    name: str = ""
    all: bool = False


class ApplyRequest(Value, frozen=True, kw_only=True):
    """A rendered stack and the contents of its configs and secrets (`config/NAME`: bytes)."""

    spec: StackSpec
    contents: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    plan_hash: str = ""
    pull: bool = False
    override: bool = False

    def __repr__(self) -> str:
        return f"ApplyRequest({self.spec.name})"


class ApplyAnswer(Answer, frozen=True, kw_only=True):
    """What `apply` committed; `changed` false when there was nothing to do."""

    stack: str
    release: int
    changed: bool
    plan_hash: str
    notes: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    """Services that stay as they are because their image could not be resolved, and why."""


class PlanRequest(Value, frozen=True, kw_only=True):
    """A stack to plan: rendered by the client, or read from a repository at a commit."""

    spec: StackSpec | None = None
    contents: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    repo: str = ""
    commit: str = ""
    pull: bool = False

    def __repr__(self) -> str:
        return f"PlanRequest({self.spec.name if self.spec else self.repo})"


class PlanLine(Answer, frozen=True, kw_only=True):
    """One numbered change: what, why, and its effect."""

    number: int
    kind: str
    object: str
    text: str
    cause: str
    effect: str


class PlanAnswer(Answer, frozen=True, kw_only=True):
    """The plan of one stack. `infeasible`: reasons why apply would refuse it."""

    stack: str
    release: int
    """The release it is made against; 0 = none yet."""
    changed: bool
    plan_hash: str
    changes: tuple[PlanLine, ...]
    infeasible: tuple[str, ...]
    notes: tuple[str, ...]
    diff: str


class PlansAnswer(Answer, frozen=True, kw_only=True):
    """Plans of several stacks (a repository)."""

    plans: tuple[PlanAnswer, ...]
    problems: tuple[str, ...] = ()


class WaitRequest(Value, frozen=True, kw_only=True):
    """What to wait for; at most one of release, revision, commit."""

    name: str
    release: int = 0
    revision: str = ""
    commit: str = ""
    timeout: float = 900.0


class WaitAnswer(Answer, frozen=True, kw_only=True):
    """Progress while `code` is -1; the last answer has the exit code of the contracts."""

    code: int
    text: str
    phase: str = ""


class RevisionRow(Answer, frozen=True, kw_only=True):
    """One revision of a service in `status`."""

    id: str
    role: str
    image: str
    desired: int
    running: int
    ready: int
    weight: int


class ServiceStatus(Answer, frozen=True, kw_only=True):
    """`status STACK/SERVICE -o json`."""

    stack: str
    service: str
    phase: str
    reason: str
    strategy: str
    step: int
    steps: tuple[str, ...]
    weights: Mapping[str, int]
    revisions: tuple[RevisionRow, ...]
    release: int
    commit: str
    owner: str
    hold: tuple[str, ...]
    override: Mapping[str, str | int | float] | None


class StackStatus(Answer, frozen=True, kw_only=True):
    """`status STACK -o json`."""

    stack: str
    release: int
    commit: str
    seen_commit: str
    owner: str
    phase: str
    services: tuple[ServiceStatus, ...]
    problem: str = ""


class StatusAnswer(Answer, frozen=True, kw_only=True):
    """The stacks asked for; all without a name. `service` narrows to one."""

    stacks: tuple[StackStatus, ...]
    service: str = ""
    nodes: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


class StackRow(Answer, frozen=True, kw_only=True):
    """A line of `ls`."""

    stack: str
    owner: str
    release: int
    commit: str
    phase: str
    services: int
    ready: int
    desired: int


class StackRows(Answer, frozen=True, kw_only=True):
    """`ls`."""

    stacks: tuple[StackRow, ...]


class TaskRow(Answer, frozen=True, kw_only=True):
    """A line of `ps`."""

    id: str
    stack: str
    service: str
    slot: int | str
    revision: str
    node: str
    state: str
    desired_state: str
    health: str
    in_flight: int
    addresses: Mapping[str, str]
    image: str
    error: str
    since: str


class TaskRows(Answer, frozen=True, kw_only=True):
    """`ps`."""

    tasks: tuple[TaskRow, ...]


class WhyAnswer(Answer, frozen=True, kw_only=True):
    """The first unmet condition, since when, what happens next, and the chain of events."""

    name: str
    phase: str
    text: str
    lines: tuple[str, ...]


class HistoryRow(Answer, frozen=True, kw_only=True):
    """A line of `history`."""

    release: int
    commit: str
    at: str
    by: str
    state: str
    services: Mapping[str, str]


class HistoryRows(Answer, frozen=True, kw_only=True):
    """`history STACK`."""

    releases: tuple[HistoryRow, ...]


class EventsRequest(Value, frozen=True, kw_only=True):
    """Events, oldest first; `trace`: only those in the causal chain of this id."""

    follow: bool = False
    trace: str = ""
    name: str = ""
    tail: int = 200


class EventRow(Answer, frozen=True, kw_only=True):
    """A line of `events`."""

    id: str
    at: str
    kind: str
    object: str
    principal: str
    cause: str
    text: str


class LogsRequest(Value, frozen=True, kw_only=True):
    """Logs of a task, a service or a stack. `since` Unix seconds; `tail` < 0 = all."""

    name: str
    follow: bool = False
    tail: int = -1
    since: float = 0


class LogRow(Answer, frozen=True, kw_only=True):
    """One line of output."""

    task: str
    name: str
    at: str
    stream: str
    text: bytes
    partial: bool = False


class ExecFrame(Value, frozen=True, kw_only=True):
    """One frame of `exec`, both ways. The first from the client names task and argv; the last
    from the server has `code`."""

    task: str = ""
    argv: tuple[str, ...] = ()
    tty: bool = False
    rows: int = 0
    columns: int = 0
    data: bytes = b""
    stream: int = 0
    """1 stdout, 2 stderr; from the client: 0 stdin."""
    end: bool = False
    """stdin is closed."""
    code: int | None = None


class ScaleRequest(Value, frozen=True, kw_only=True):
    """`scale STACK/SERVICE=N`; replicas None = back to the declared number."""

    name: str
    replicas: int | None


class RemoveRequest(Value, frozen=True, kw_only=True):
    """`rm STACK`."""

    name: str
    volumes: bool = False


class AdoptRequest(Value, frozen=True, kw_only=True):
    """`adopt STACK --repo NAME`."""

    name: str
    repo: str


class RolloutRequest(Value, frozen=True, kw_only=True):
    """promote, abort, pause, resume, retry, rollback."""

    name: str
    full: bool = False
    to: str = ""


class RepoAddRequest(Value, frozen=True, kw_only=True):
    """`repo add`. `credential` is the content of the key or token file."""

    name: str
    url: str
    path: str = ""
    ref: str = ""
    interval: float = 15.0
    prune: bool = False
    allow_empty: bool = False
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    ssh_key: bytes = b""
    token: bytes = b""
    known_hosts: str = ""

    def __repr__(self) -> str:
        return f"RepoAddRequest({self.name})"


class RepoRequest(Value, frozen=True, kw_only=True):
    """`repo rm`, `repo sync`."""

    name: str
    prune: bool = False
    allow_empty: bool = False
    pull: bool = False
    wait: bool = False


class RepoRow(Answer, frozen=True, kw_only=True):
    """A line of `repo ls`."""

    name: str
    url: str
    ref: str
    path: str
    commit: str
    checked: str
    error: str
    problems: tuple[str, ...]
    stacks: tuple[str, ...]


class RepoRows(Answer, frozen=True, kw_only=True):
    """`repo ls`, `repo sync`."""

    repositories: tuple[RepoRow, ...]


class NodeRow(Answer, frozen=True, kw_only=True):
    """A line of `node ls`."""

    id: str
    name: str
    role: str
    availability: str
    state: str
    address: str
    tasks: int


class NodeRows(Answer, frozen=True, kw_only=True):
    """`node ls`."""

    nodes: tuple[NodeRow, ...]


class ContentRequest(Value, frozen=True, kw_only=True):
    """`secret|config create|inspect|rm`; `kind` is `config` or `secret`."""

    kind: str
    name: str = ""
    value: bytes = b""
    version: str = ""
    show: bool = False

    def __repr__(self) -> str:
        return f"ContentRequest({self.kind} {self.name})"


class ContentRow(Answer, frozen=True, kw_only=True):
    """A config or secret; never a secret's value. `value` only for configs when asked."""

    kind: str
    name: str
    version: str
    versions: tuple[str, ...]
    stack: str
    created: str
    size: int
    used_by: tuple[str, ...]
    value: str | None = None


class ContentRows(Answer, frozen=True, kw_only=True):
    """`secret ls`, `config ls`."""

    items: tuple[ContentRow, ...]


class NetworkRow(Answer, frozen=True, kw_only=True):
    """A network."""

    id: str
    name: str
    stack: str
    subnet: str
    vni: int
    internal: bool
    used: int
    size: int


class NetworkRows(Answer, frozen=True, kw_only=True):
    """`network ls`."""

    networks: tuple[NetworkRow, ...]


class VolumeRow(Answer, frozen=True, kw_only=True):
    """A named volume on a node."""

    name: str
    node: str
    stack: str
    created: str
    used_by: tuple[str, ...]


class VolumeRows(Answer, frozen=True, kw_only=True):
    """`volume ls`."""

    volumes: tuple[VolumeRow, ...]


class ImageRequest(Value, frozen=True, kw_only=True):
    """`image load|pull|inspect|rm`. `path` is a place on the manager's machine."""

    name: str = ""
    path: str = ""


class ImageRow(Answer, frozen=True, kw_only=True):
    """A local image name."""

    name: str
    digest: str
    size: int


class ImageRows(Answer, frozen=True, kw_only=True):
    """`image ls`, `image load`."""

    images: tuple[ImageRow, ...]


class LoginRequest(Value, frozen=True, kw_only=True):
    """`registry login HOST`."""

    host: str
    username: str
    password: str
    insecure: bool = False

    def __repr__(self) -> str:
        return f"LoginRequest({self.host})"


class RegistryRows(Answer, frozen=True, kw_only=True):
    """`registry ls`: host and user name, never a password."""

    registries: tuple[Mapping[str, str], ...]


class TokenRequest(Value, frozen=True, kw_only=True):
    """`token show|rotate worker|manager`."""

    role: str = "worker"


class ClusterAnswer(Answer, frozen=True, kw_only=True):
    """`cluster show`."""

    id: str
    version: str
    managers: tuple[str, ...]
    nodes: int
    stacks: int
    tasks: int
    settings: Mapping[str, str]
