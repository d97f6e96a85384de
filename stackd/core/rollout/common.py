"""What every strategy is given and gives back, and how a service is observed.

Used by the strategies and by everything that leads them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from stackd.core.model import fit
from stackd.core.model.analysis import Judgement
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.stack import RestartCondition, ServiceSpec, Strategy
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.traffic import EndpointState, Steering, TrafficEntry
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import answers

ACTIVE = (
    RolloutPhase.WAITING,
    RolloutPhase.PROGRESSING,
    RolloutPhase.PAUSED,
    RolloutPhase.ROLLING_BACK,
)
STORE_EVERY = 5.0
"""Seconds between writes of the time left."""
LOOKED = STORE_EVERY + 1
"""Seconds of a pause that can pass between two looks: time in which no manager looked does not
shorten it."""
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


def observe(
    world: World, stack: str, spec: ServiceSpec, state: ServiceState, target: str, now: float
) -> Observed:
    """Count a service's tasks by revision, as of `now`."""
    wanted = fit.replicas(world, stack, spec)
    groups: dict[str, list[TaskView]] = defaultdict(list)
    for view in world.tasks_of(stack, spec.name):
        if not fit.aside(world, view, spec):
            groups[view.task.revision].append(view)
    tallies = {r: _tally(world, views, spec, now) for r, views in groups.items()}
    counts = {r: wanted if n == EVERYWHERE else n for r, n in state.counts.items()}
    carried = _carried(world, state) if spec.strategy.kind.weighted else None
    return Observed(
        target=target,
        stable=state.stable or "",
        wanted=wanted,
        counts=counts,
        tallies={r: t for r, t in tallies.items() if t != Tally()},
        blocked=""
        if target == state.stable
        else traffic_problem(world, state.key) or traffic_behind(world, state.key),
        weights=dict(state.weights),
        applied=carried is not None,
        carried=carried or {},
        proven=target in state.proven,
        steering=state.steering,
        answers=answers.of(world, state),
    )


def _carried(world: World, state: ServiceState) -> Mapping[str, int] | None:
    """Ready endpoints by revision, when every node has applied the entry with these weights and
    this steering."""
    entry = world.get(TrafficEntry, state.key)
    reports = fit.carriers(world)
    if entry is None or not reports:
        return None
    if (entry.weights, entry.steering) != (state.weights, state.steering):
        return None
    written = world.rev(TrafficEntry.TABLE, state.key)
    if any(report.applied < written for report in reports):
        return None
    ready = (e.revision for e in entry.endpoints if e.state is EndpointState.READY)
    return Counter(ready)


def pause_left(rollout: Rollout, now: float) -> float:
    """Seconds left of the pause that the current step is; 0 when it is none."""
    if not rollout.pause_at:
        return 0.0
    if rollout.phase is RolloutPhase.PAUSED:
        return rollout.pause_left
    return rollout.pause_left - min(max(now - rollout.pause_at, 0.0), LOOKED)


def awake(rollout: Rollout) -> Rollout:
    """The rollout in no pause and no analysis."""
    return msgspec.structs.replace(rollout, pause_left=0, pause_at=0, waits=False, judges=False)


def promotable(rollout: Rollout) -> bool:
    """A person may end what the current step waits for: a pause, or an analysis that could not
    decide."""
    return rollout.waits or (rollout.pause_at > 0 and not rollout.judges)


def resting(rollout: Rollout) -> bool:
    """It is in a pause or an analysis, or waits for its group: that nothing moves is meant so."""
    return halted(rollout) or grouped(rollout) or rollout.stands


def halted(rollout: Rollout) -> bool:
    """The pause or the analysis that its current step is has begun."""
    return rollout.waits or rollout.pause_at > 0 or rollout.judges


def grouped(rollout: Rollout) -> bool:
    """It has done its step and waits for its group."""
    return rollout.arrived > rollout.step


def traffic_problem(world: World, service: str) -> str:
    """What the first node says that cannot apply the traffic of `STACK/SERVICE`; '' when all
    can."""
    for report in world.all(NodeReport):
        if service in report.problems:
            node = world.get(Node, report.id)
            return f"{node.name if node else report.id}: {report.problems[service].rstrip('.')}"
    return ""


def traffic_behind(world: World, service: str) -> str:
    """The first node that is there and has not applied the traffic of `STACK/SERVICE` as it is
    now; '' when all have: only then does every node answer on its ports."""
    if world.get(TrafficEntry, service) is None:
        return ""
    revision = world.rev(TrafficEntry.TABLE, service)
    for status in world.all(NodeStatus):
        report = world.get(NodeReport, status.id)
        if status.state is NodeState.READY and (report is None or report.applied < revision):
            node = world.get(Node, status.id)
            return f"{node.name if node else status.id} does not carry its traffic yet"
    return ""


def _tally(world: World, views: Iterable[TaskView], spec: ServiceSpec, now: float) -> Tally:
    live = wanted = running = ready = available = 0
    soon: list[float] = []
    ended: dict[str, bool] = {}
    for view in sorted(views, key=lambda v: (v.task.created, v.task.id)):
        live += view.live
        if not view.wanted:
            continue
        ended[view.task.slot] = allowed_end(view, spec)
        if not view.live:
            continue
        wanted += 1
        running += view.status.state is TaskState.RUNNING
        if view.ready and not fit.lost(world, view):
            ready += 1
            at = view.status.ready_at + spec.strategy.monitor
            available += at <= now
            soon += [at] if at > now else []
    return Tally(
        live=live,
        wanted=wanted,
        running=running,
        ready=ready,
        available=available + sum(ended.values()),
        next_available=min(soon, default=None),
    )


def allowed_end(view: TaskView, spec: ServiceSpec) -> bool:
    """The task has done its work and its restart policy wants no other."""
    return (
        view.status.state is TaskState.COMPLETE
        and spec.restart.condition is not RestartCondition.ANY
    )
