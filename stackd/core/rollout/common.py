"""What every strategy is given and gives back.

Used by the strategies and by everything that leads them; `observing` makes what they are given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from stackd.core.model.analysis import Judgement
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Strategy
from stackd.core.model.traffic import Steering

UNSTEERED = Steering()
"""Weights alone say where requests go."""
EVERYWHERE = -1
"""The count that means one task on every fitting node."""


@dataclass(frozen=True)
class Tally:
    """The tasks of one revision, counted."""

    live: int = 0
    """Not finished, also those that are leaving."""
    wanted: int = 0
    """Live and not asked to go."""
    running: int = 0
    ready: int = 0
    """Wanted and ready."""
    available: int = 0
    """Ready for `monitor` seconds, or ended as its restart policy allows."""
    next_available: float | None = None
    """When the next ready task will have been so for `monitor` seconds."""


@dataclass(frozen=True)
class Barrier:
    """The last step that a rollout may enter now, and what it waits for there."""

    step: int
    reason: str


@dataclass(frozen=True)
class Gate:
    """What must confirm before each step: since when all of it does (0: it does not), and what a
    rollout waits for that it does not let in."""

    since: float
    reason: str


@dataclass(frozen=True)
class Observed:
    """What a strategy decides on."""

    target: str
    """The revision that is to have all tasks."""
    stable: str
    """The revision that is replaced last; empty when none has been proven."""
    wanted: int
    """Tasks the service should have."""
    counts: Mapping[str, int]
    """Counts as they are asked for now, as numbers."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    blocked: str = ""
    """Why a target that is new cannot serve although its tasks run: a published port is taken, or
    a node does not carry its traffic yet."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Weights as they are asked for now."""
    applied: bool = False
    """Every node that carries traffic has applied the service's entry, and it has `weights` and
    `steering`."""
    carried: Mapping[str, int] = field(default_factory=dict)
    """Ready endpoints of each revision in that entry."""
    proven: bool = False
    """The target has run in full before."""
    steering: Steering = UNSTEERED
    """Where requests go whatever the weights, as asked for now."""
    answers: Mapping[str, Judgement] = field(default_factory=dict)
    """What the analyses of this rollout said when they looked last, by place."""
    barrier: Barrier | None = None
    """How far the group of the service lets it go; None = as far as it can."""
    gate: Gate | None = None
    """What must confirm before each step; None = nothing."""
    former: int = 0
    """Of a toggle: the share that it goes back to, 0..10000."""

    def tally(self, revision: str) -> Tally:
        """The counted tasks of a revision."""
        return self.tallies.get(revision, Tally())

    def existing(self, revision: str) -> int:
        """Tasks that exist or have been asked for, also those that are leaving."""
        tally = self.tally(revision)
        return tally.live - tally.wanted + max(tally.wanted, self.counts.get(revision, 0))

    @property
    def revisions(self) -> list[str]:
        """Every revision with tasks or a count; those to be replaced first come first."""
        names = {r for r, n in self.counts.items() if n} | set(self.tallies)
        return sorted(names - {self.target}, key=lambda r: (r == self.stable, r))

    @property
    def complete(self) -> bool:
        """The target has all tasks, in place, and nothing else is left."""
        return (
            self.counts.get(self.target, 0) == self.wanted
            and self.tally(self.target).available >= self.wanted
            and all(self.existing(r) == 0 for r in self.revisions)
            and not self.blocked
        )

    @property
    def score(self) -> int:
        """Grows with every task that comes into place and every old one that has ended."""
        old = sum(self.existing(r) for r in self.revisions)
        return self.tally(self.target).available - old


@dataclass(frozen=True)
class Step:
    """One decision of a strategy: the rollout as it goes on, counts, when to look again, why,
    the weights (none: in proportion to ready tasks), whether that is the end of it, what is told
    when it is the first of a new step, where requests go whatever the weights, and why the
    rollout must be taken back ('': it need not)."""

    state: Rollout
    counts: Mapping[str, int]
    wake_at: float | None
    reason: str
    weights: Mapping[str, int] = field(default_factory=dict)
    done: bool = False
    told: str = ""
    steering: Steering = UNSTEERED
    failed: str = ""


StrategyStep = Callable[[Strategy, Rollout, Observed, float], Step]


def awake(rollout: Rollout) -> Rollout:
    """The rollout in no pause and no analysis, and at no gate."""
    return msgspec.structs.replace(
        rollout, pause_left=0, pause_at=0, waits=False, judges=False, gated=False
    )
