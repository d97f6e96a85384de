"""The analyses loop: looks at what rollouts ask for, as often as each policy says, and commits
what is known and the newest answer.

`look` decides from values (the statistics are `core.analysis`'s); `Analyses` keeps what is in the
leader's memory only. Rollouts read the answers and act; this loop changes nothing but `Analysis`.
"""

from collections.abc import Mapping, Sequence
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
from stackd.core.model.ids import RevisionId
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Stack
from stackd.core.model.requests import BATCH, Batch
from stackd.core.model.rollout import Rollout, ServiceState
from stackd.core.model.states import Health, NodeState, TaskState
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import asked
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
    """What the rollout of a service asks for now: place -> policy."""

    rollout: Rollout
    source: RevisionId
    policies: Mapping[str, AnalysisPolicy]


def wanted(world: World, key: str) -> Wanted | None:
    """None when no rollout is under way that has something to be compared with."""
    stack, name = key.split("/", 1)
    state, spec = world.get(ServiceState, key), world.declared(stack, name)
    rollout = state.rollout if state is not None else None
    if spec is None or rollout is None or rollout.ended or rollout.source is None:
        return None
    return Wanted(rollout, rollout.source, asked.analyses(spec.strategy, rollout))


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
        found.rollout.target,
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


@dataclass
class Answers:
    """Newest answers of checks: (service, rollout, place) -> name -> results. Filled by
    `manager.checking`."""

    found: dict[tuple[str, str, str], dict[str, list[CheckResult]]] = field(default_factory=dict)

    def put(self, place: tuple[str, str, str], check: Check, result: CheckResult) -> None:
        """One more answer; the last few are kept until they are judged."""
        mine = self.found.setdefault(place, {}).setdefault(check.name, [])
        mine.append(result)
        del mine[: -2 * check.failures - 2]

    def of(self, place: tuple[str, str, str]) -> list[CheckResult]:
        """All that is kept of an analysis."""
        return [r for results in self.found.get(place, {}).values() for r in results]

    def forget(self, key: str, rollout: str = "") -> None:
        """Those of other rollouts of the service are over."""
        gone = [place for place in self.found if place[0] == key and place[1] != rollout]
        for place in gone:
            del self.found[place]


class Analyses:
    """For one term of a leader."""

    def __init__(self, inbox: Inbox, answers: Answers) -> None:
        self._inbox = inbox
        self._answers = answers
        self._bases: dict[tuple[str, str, str], Counters] = {}
        """What a run's counters are beyond what this leader has counted: what was stored when it
        took over, less what it had counted when the run began."""

    def loop(self) -> ControlLoop:
        """To be run by the leader."""
        watches = (ServiceState, Stack, Analysis)
        return ControlLoop("analyses", watches, Keyed(concerned.services, self.decide))

    def decide(self, world: World, key: str, now: float, ids: Ids) -> Decision:
        """Look at what is due of one service."""
        draft = Draft(now, ids)
        known = world.get(Analysis, key)
        if world.get(ServiceState, key) is None and known is not None:
            draft.group([Delete(ref=ref(Analysis, key))], [ref(ServiceState, key)])
        found = wanted(world, key)
        if found is None:
            self._inbox.forget(key)
            self._answers.forget(key)
            self._bases = {place: base for place, base in self._bases.items() if place[0] != key}
            return draft.decision()
        self._answers.forget(key, found.rollout.id)
        if known is None or known.rollout != found.rollout.id:
            stack, name = key.split("/", 1)
            known = Analysis(stack=stack, service=name, rollout=found.rollout.id)
        runs, wake_at = self._looked(world, key, found, known, now)
        if runs != known.runs:
            draft.group([replace(known, runs=runs)], [ref(ServiceState, key)])
        return draft.decision(wake_at)

    def _looked(
        self, world: World, key: str, found: Wanted, known: Analysis, now: float
    ) -> tuple[dict[str, Run], float | None]:
        """The runs after this look, and when the next one is due."""
        runs = dict(known.runs)
        wake_at: float | None = None
        self._drop(key, found, runs)
        for at, policy in found.policies.items():
            run = runs.get(at)
            if run is not None and run.state.final:
                continue
            due = 0.0 if run is None else run.at + policy.interval
            if due <= now:
                place = (key, found.rollout.id, at)
                if run is None:
                    run = begin(found, at, self._inbox.batches(key), now)
                    counted = self._inbox.counters(key, run.state.canary)
                    self._bases[place] = _less(_NONE, counted)
                heard = self._heard(world, place, run)
                run = runs[at] = look(policy, run, heard, now)
                due = now + policy.interval
            if run is None or not run.state.final:
                wake_at = earliest(wake_at, due)
        return runs, wake_at

    def _heard(self, world: World, place: tuple[str, str, str], run: Run) -> Heard:
        key = place[0]
        stack, name = key.split("/", 1)
        state = run.state
        now = self._inbox.counters(key, state.canary)
        base = self._bases.setdefault(place, state.counters or _NONE)
        return Heard(
            batches=self._inbox.batches(key),
            counters=_less(now, _less(_NONE, base)),
            checks=self._answers.of(place),
            faults=faults(world.tasks_of(stack, name), state),
            doubts=doubts(world, state.started),
        )

    def _drop(self, key: str, found: Wanted, runs: Mapping[str, Run]) -> None:
        """Forget what every analysis under way has judged, as far as that is committed. Without
        any, what stable does is kept: it says how large blocks are to be."""
        going = [runs[at] for at in found.policies if at in runs]
        if going and len(going) == len(found.policies):
            self._inbox.drop(key, lambda batch: all(judged(run, batch) for run in going))
