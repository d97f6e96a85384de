"""What is shown of stacks, services, tasks and events."""

from collections.abc import Mapping

from stackd.core.model.api.base import Answer
from stackd.core.model.api.flags import FlagRow
from stackd.core.model.api.underway import AnalysisRow, RolloutRow, VariantsRow
from stackd.core.model.record import Value


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
    """Steps that are done: `steps[step]` is the current one."""
    steps: tuple[str, ...]
    weights: Mapping[str, int]
    """0..10000: as a rollout wants them, or by the number of ready tasks; how they act now, after
    revisions that have nothing ready are passed over, is in `revisions`."""
    revisions: tuple[RevisionRow, ...]
    release: int
    commit: str
    owner: str
    hold: tuple[str, ...]
    override: Mapping[str, str | int | float] | None
    rollout: RolloutRow | None = None
    analyses: tuple[AnalysisRow, ...] = ()
    features: tuple[FlagRow, ...] = ()
    labels: Mapping[str, str] = {}
    """`deploy.labels`: those of the service; its containers have others."""
    variants: VariantsRow | None = None
    """Of an A/B rollout."""
    measured: Mapping[str, int] = {}
    """Revision -> requests, and connections to TCP ports, that the ingress gave it since the
    present weights act; {} while all goes to one revision, and until the first nodes have told."""
    kept_warm: Mapping[str, float] = {}
    """Replaced revision -> seconds left of its `scale_down_delay`."""


class StackStatus(Answer, frozen=True, kw_only=True):
    """`status STACK -o json`."""

    stack: str
    release: int
    commit: str
    seen_commit: str
    owner: str
    phase: str
    services: tuple[ServiceStatus, ...]
    frozen: tuple[str, ...] = ()
    """Each freeze that keeps new rollouts from beginning: by whom, until when, why."""
    problem: str = ""
    """Why it does not run what its owner declares; in `-o json` a part of each reason."""


class TaskLife(Answer, frozen=True, kw_only=True):
    """How a task that is not finished came to be."""

    age: float
    """Seconds since it was made."""
    restarts: int
    """Tasks of its slot that ended by their own fault, in a row, before it."""


class StatusAnswer(Answer, frozen=True, kw_only=True):
    """The stacks asked for; all without a name. `service` narrows to one."""

    stacks: tuple[StackStatus, ...]
    service: str = ""
    troubles: tuple[str, ...] = ()
    """What is wrong with the cluster itself: the manager's store, nodes."""
    events: tuple[str, ...] = ()
    lives: Mapping[str, TaskLife] = {}
    """By task."""


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
