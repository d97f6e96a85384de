"""The state of one service's revisions: which is stable, which is the target, how many of each."""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Record, Value
from stackd.core.model.traffic import TOTAL, Steering


class RolloutPhase(enum.StrEnum):
    """Where a rollout stands."""

    WAITING = "waiting"
    """A dependency of the same release is not there yet."""
    PROGRESSING = "progressing"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    COMPLETE = "complete"
    ABORTED = "aborted"
    """Rolled back or failed; a hold stands on the target."""
    FAILED = "failed"
    """First rollout, nothing to go back to; or a rollback that failed too."""


class Rollout(Value, frozen=True, kw_only=True):
    """One rollout of one service: `source` -> `target`. Times are seconds."""

    id: str
    target: RevisionId
    source: RevisionId | None = None
    """The stable revision when it began; None for a first rollout."""
    release: int = 0
    commit: str = ""
    phase: RolloutPhase = RolloutPhase.PROGRESSING
    reason: str = ""
    """What it waits for or why it ended, one sentence."""
    started: float = 0
    ended: float = 0
    moved: float = 0
    """When it last made progress (manager's clock)."""
    deadline_left: float = 600.0
    """Seconds of progress_deadline left at `moved`."""
    paused_until: float = 0
    """Not before this time: the delay between batches; 0 = no wait."""
    failures: int = 0
    """Tasks of the target that failed while it ran."""
    counted: tuple[str, ...] = ()
    """Ids of the failed tasks that `failures` counts."""
    best: int = -1_000_000
    """Highest score reached (new tasks in place minus old ones left): progress is a new best."""
    updated: int = 0
    """Tasks of the target in place when last looked."""
    step: int = 0
    """How many of the strategy's steps are done, where it has such."""
    arrived: int = 0
    """The step that it may enter as soon as its group may; above `step` = it waits for that."""
    pause_left: float = 0
    """Seconds left of the pause that the current step is, as of `pause_at`."""
    pause_at: float = 0
    """Manager's clock; 0 = the current step is no timed pause that has begun."""
    waits: bool = False
    """The current step waits until a person promotes."""
    judges: bool = False
    """The current step is an analysis that has begun."""
    confirmed: int = 0
    """How many steps gates have let it enter; says nothing where there are none."""
    gated: bool = False
    """It waits for a gate to confirm before it goes on."""
    attempt: int = 0
    """Grows when analyses that have answered are to be done anew."""
    fell: tuple[int, ...] = ()
    """Steps at which it has failed and gone back to a smaller weight."""
    full: bool = False
    """It goes without the steps that are left, and without analysis: a person wants it so
    (`promote --full`), or the target has run in full before."""
    by: str = ""
    cause: str = ""
    """Event id that started it."""
    stands: bool = False
    """Of a toggle: it stays where it is, for the reason that `reason` gives, and is not judged."""


class ServiceState(Record, frozen=True, kw_only=True):
    """What the rollout loop wants of a service: how many tasks of which revision.

    Invariant: the orchestrator makes `counts` true and decides nothing about revisions.
    """

    TABLE: ClassVar[str] = "services"
    stack: str
    service: str
    stable: RevisionId | None = None
    """The last revision whose rollout completed."""
    proven: tuple[RevisionId, ...] = ()
    """Revisions that once completed a rollout, newest first (at most 10): one-step rollbacks."""
    counts: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Revision -> tasks wanted. For a global service: -1 = on every fitting node, otherwise the
    number of nodes."""
    rollout: Rollout | None = None
    weights: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Revision -> 0..10000, sum 10000; empty = in proportion to ready tasks (rolling)."""
    steering: Steering = Steering()
    """Where requests go whatever the weights, as wanted of the traffic table."""
    warm: RevisionId | None = None
    """The replaced revision while it stays ready to take over again; it gets no traffic."""
    warm_left: float = 0
    """Seconds of scale_down_delay left at `warm_at`."""
    warm_at: float = 0

    @property
    def key(self) -> str:
        return service_key(self.stack, self.service)


class ToggleState(ServiceState, frozen=True, kw_only=True):
    """What is wanted of a toggle with stages: `service` is `SERVICE/TOGGLE`, its revisions are the
    shares it was declared with (`10%`), and `weights` say whom it reaches now.

    Invariant: nodes give the share that this says, unless one is set by hand.
    """

    TABLE: ClassVar[str] = "feature_states"
    ON: ClassVar[str] = "on"
    OFF: ClassVar[str] = "off"
    former: int = 0
    """The share of `stable`, to which it goes back, 0..10000."""

    @property
    def share(self) -> int:
        """0..10000 of all targeting keys are reached."""
        return self.weights.get(self.ON, 0)

    @classmethod
    def reaching(cls, share: int) -> Mapping[str, int]:
        """Weights with which it reaches this share."""
        both = {cls.ON: share, cls.OFF: TOTAL - share}
        return {variant: weight for variant, weight in both.items() if weight}


class Phase(enum.StrEnum):
    """The phase of a service or stack as users see it."""

    ROLLING_BACK = "rolling_back"
    DEGRADED = "degraded"
    ABORTED = "aborted"
    PAUSED = "paused"
    PROGRESSING = "progressing"
    PENDING = "pending"
    HEALTHY = "healthy"
