"""The analyses loop: looks at what rollouts ask for, as often as each policy says, and commits
what is known and the newest answer.

`look` decides from values (the statistics are `core.analysis`'s); `Analyses` keeps what is in the
leader's memory only. Rollouts read the answers and act; this loop changes nothing but `Analysis`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from stackd.core import analysis
from stackd.core.analysis import blocks
from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    AnalysisState,
    Check,
    CheckResult,
    Counters,
    Observed,
    Run,
    TaskFaults,
)
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Stack
from stackd.core.model.requests import BATCH, Batch
from stackd.core.model.rollout import FeatureState, Rollout, ServiceState
from stackd.core.model.states import Health, NodeState, TaskState
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import asked, places
from stackd.manager import concerned
from stackd.manager.inbox import Inbox
from stackd.manager.keyed import Keyed
from stackd.manager.loop import ControlLoop

ENOUGH = 100
"""Requests of stable before an analysis, from which its block size is chosen."""


_NONE = Counters(requests=0, errors=0)


def _less(one: Counters, other: Counters) -> Counters:
    return Counters(requests=one.requests - other.requests, errors=one.errors - other.errors)


@dataclass(frozen=True)
class Wanted:
    """What the rollout of a service, or of a toggle of it, asks for now: place -> policy."""

    key: str
    """Of the `Analysis`."""
    rollout: Rollout
    canary: RevisionId
    """Whose requests and tasks are judged: for a toggle all of the service."""
    source: RevisionId
    """With what they are compared; '' = with nothing."""
    policies: Mapping[str, AnalysisPolicy]


def wanted(world: World, service: str) -> list[Wanted]:
    """What is asked for at `STACK/SERVICE`: nothing of a rollout without something to go back
    to."""
    stack, name = service.split("/", 1)
    names = [name, *places.toggles(world, stack, name)]
    found = (_wanted(world, service, service_key(stack, one)) for one in names)
    return [one for one in found if one is not None]


def _wanted(world: World, service: str, key: str) -> Wanted | None:
    stack, name = key.split("/", 1)
    state, part = places.state_of(world, key), places.declared(world.release(stack), name)
    rollout = state.rollout if state is not None else None
    if part is None or rollout is None or rollout.ended or rollout.source is None:
        return None
    policies = asked.analyses(part.spec.strategy, rollout)
    if not isinstance(state, FeatureState):
        return Wanted(key, rollout, rollout.target, rollout.source, policies)
    runs = world.get(ServiceState, service)
    all_of_it = runs.stable if runs is not None else None
    return Wanted(key, rollout, all_of_it or RevisionId(""), RevisionId(""), policies)


@dataclass(frozen=True)
class Heard:
    """What came in for one service."""

    batches: Sequence[Batch] = ()
    counters: Counters | None = None
    """Of the canary since the analysis began."""
    checks: Sequence[CheckResult] = ()
    faults: TaskFaults = field(default_factory=TaskFaults)
    doubts: tuple[str, ...] = ()


def begin(found: Wanted, at: str, batches: Sequence[Batch], now: float) -> Run:
    """An analysis that starts now. How many requests its blocks hold follows from what stable did
    before."""
    state = analysis.begin(
        found.canary,
        found.source,
        now,
        background=asked.background(at),
    )
    before = [b for b in batches if b.revision == found.source]
    requests = sum(len(b.seconds) for b in before)
    errors = sum(len(b.failed) for b in before)
    held = blocks.size(requests, errors) if requests >= ENOUGH else BATCH
    return Run(state=state, block=held)


def look(policy: AnalysisPolicy, run: Run, heard: Heard, now: float) -> Run:
    """One look: what is known with what came in, and the answer."""
    fresh = [b for b in heard.batches if b.since >= run.state.started]
    observed = Observed(
        blocks=tuple(block for b in fresh for block in blocks.cut(policy, b, run.block)),
        checks=tuple(heard.checks),
        faults=heard.faults,
        counters=heard.counters,
        doubts=heard.doubts,
    )
    looked = analysis.look(policy, run.state, observed, now)
    return replace(run, state=looked.state, judgement=looked.judgement, at=now)


def judged(run: Run, batch: Batch) -> bool:
    """Whether the batch says nothing more to the analysis."""
    state = run.state
    if state.final or batch.since < state.started:
        return True
    if batch.revision not in (state.canary, state.stable):
        return True
    seen = state.seen.get(batch.instance)
    return seen is not None and seen.sequence >= blocks.last(batch, run.block)


def faults(views: Sequence[TaskView], state: AnalysisState) -> TaskFaults:
    """What befell the canary's tasks since the analysis began."""
    ours = [v for v in views if v.task.revision == state.canary]
    new = [v for v in ours if v.status.seen >= state.started]
    return TaskFaults(
        crashes=sum(_crashed(v) for v in new),
        oom_kills=sum(v.status.oom_killed for v in new),
        unhealthy=sum(v.live and v.wanted and v.status.health is Health.UNHEALTHY for v in new),
    )


def _crashed(view: TaskView) -> bool:
    desired, status = view.desired, view.status
    was_asked = desired.stop and desired.stop_at <= status.seen
    return status.state is TaskState.FAILED and not was_asked


def doubts(world: World, since: float) -> tuple[str, ...]:
    """Nodes that went out of hearing since the analysis began: they may still carry requests to
    the canary. One that was not heard before does not know of it."""
    lost = [
        status
        for status in world.all(NodeStatus)
        if status.state is NodeState.DOWN and status.since >= since
    ]
    names = [node.name if (node := world.get(Node, s.id)) else s.id for s in lost]
    return tuple(f"node {name} is not heard" for name in names)


Place = tuple[str, str, str]
"""Key of the `Analysis`, rollout, place of the analysis."""


def concerns(service: str, key: str) -> bool:
    """`key` is that of the service, or of a toggle of it."""
    return key == service or key.startswith(f"{service}/")


@dataclass
class Answers:
    """Newest answers of checks: place -> name -> results. Filled by
    `manager.checking`."""

    found: dict[Place, dict[str, list[CheckResult]]] = field(default_factory=dict)

    def put(self, place: Place, check: Check, result: CheckResult) -> None:
        """One more answer; the last few are kept until they are judged."""
        mine = self.found.setdefault(place, {}).setdefault(check.name, [])
        mine.append(result)
        del mine[: -2 * check.failures - 2]

    def of(self, place: Place) -> list[CheckResult]:
        """All that is kept of an analysis."""
        return [r for results in self.found.get(place, {}).values() for r in results]

    def keep(self, service: str, going: Collection[tuple[str, str]]) -> None:
        """Of a service and its toggles only the rollouts in `going` (key and id) have not
        ended."""
        mine = [place for place in self.found if concerns(service, place[0])]
        for place in mine:
            if place[:2] not in going:
                del self.found[place]


class Analyses:
    """For one term of a leader."""

    def __init__(self, inbox: Inbox, answers: Answers) -> None:
        self._inbox = inbox
        self._answers = answers
        self._bases: dict[Place, Counters] = {}
        """What a run's counters are beyond what this leader has counted: what was stored when it
        took over, less what it had counted when the run began."""

    def loop(self) -> ControlLoop:
        """To be run by the leader."""
        watches = (ServiceState, FeatureState, Stack, Analysis)
        return ControlLoop("analyses", watches, Keyed(concerned.services, self.decide))

    def decide(self, world: World, service: str, now: float, ids: Ids) -> Decision:
        """Look at what is due of one service and its toggles."""
        draft = Draft(now, ids)
        if world.get(ServiceState, service) is None and world.get(Analysis, service) is not None:
            draft.group([Delete(ref=ref(Analysis, service))], [ref(ServiceState, service)])
        found = wanted(world, service)
        going = {(one.key, one.rollout.id) for one in found}
        self._answers.keep(service, going)
        self._bases = {
            place: base
            for place, base in self._bases.items()
            if place[:2] in going or not concerns(service, place[0])
        }
        if not found:
            self._inbox.forget(service)
            return draft.decision()
        self._drop(world, service, found)
        wakes = [self._look(world, service, one, draft) for one in found]
        return draft.decision(earliest(*wakes))

    def _look(self, world: World, service: str, found: Wanted, draft: Draft) -> float | None:
        """Look at what is due of one rollout; when the next look is."""
        stack, name = found.key.split("/", 1)
        known = world.get(Analysis, found.key)
        if known is None or known.rollout != found.rollout.id:
            known = Analysis(stack=stack, service=name, rollout=found.rollout.id)
        runs, wake_at = self._looked(world, service, found, known.runs, draft.now)
        if runs != known.runs:
            table = FeatureState if found.key != service else ServiceState
            draft.group([replace(known, runs=runs)], [ref(table, found.key)])
        return wake_at

    def _looked(
        self, world: World, service: str, found: Wanted, known: Mapping[str, Run], now: float
    ) -> tuple[dict[str, Run], float | None]:
        """The runs after this look, and when the next one is due."""
        runs = dict(known)
        wake_at: float | None = None
        for at, policy in found.policies.items():
            run = runs.get(at)
            if run is not None and run.state.final:
                continue
            due = 0.0 if run is None else run.at + policy.interval
            if due <= now:
                place = (found.key, found.rollout.id, at)
                if run is None:
                    run = begin(found, at, self._inbox.batches(service), now)
                    counted = self._inbox.counters(service, run.state.canary)
                    self._bases[place] = _less(_NONE, counted)
                heard = self._heard(world, service, place, run)
                run = runs[at] = look(policy, run, heard, now)
                due = now + policy.interval
            if run is None or not run.state.final:
                wake_at = earliest(wake_at, due)
        return runs, wake_at

    def _heard(self, world: World, service: str, place: Place, run: Run) -> Heard:
        stack, name = service.split("/", 1)
        state = run.state
        now = self._inbox.counters(service, state.canary)
        base = self._bases.setdefault(place, state.counters or _NONE)
        return Heard(
            batches=self._inbox.batches(service),
            counters=_less(now, _less(_NONE, base)),
            checks=self._answers.of(place),
            faults=faults(world.tasks_of(stack, name), state),
            doubts=doubts(world, state.started),
        )

    def _drop(self, world: World, service: str, found: Sequence[Wanted]) -> None:
        """Forget what every analysis under way has judged, as far as that is committed. Without
        any, what stable does is kept: it says how large blocks are to be."""
        known = [(one, world.get(Analysis, one.key)) for one in found]
        runs = [
            record.runs.get(at) if record and record.rollout == one.rollout.id else None
            for one, record in known
            for at in one.policies
        ]
        going = [run for run in runs if run is not None]
        if going and len(going) == len(runs):
            self._inbox.drop(service, lambda batch: all(judged(run, batch) for run in going))
