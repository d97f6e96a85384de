"""One analysis of a rollout, from its beginning to its verdict: what of all that came in concerns
it, when it is to be looked at again.

Called by the analyses loop, which keeps what has come in. Times are seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from stackd.core.analysis import blocks
from stackd.core.analysis.look import look
from stackd.core.model.analysis import (
    AnalysisPolicy,
    AnalysisState,
    CheckResult,
    Counters,
    Observed,
    Run,
    Tally,
    TaskFaults,
)
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.requests import BATCH, Batch
from stackd.core.model.states import Health, NodeState, TaskState
from stackd.core.model.world import TaskView, World

ENOUGH = 100
"""Requests of stable before an analysis, from which its block size is chosen."""


@dataclass(frozen=True)
class Heard:
    """What came in for one service."""

    batches: Sequence[Batch] = ()
    counters: Counters | None = None
    """Of the canary since the analysis began."""
    checks: Sequence[CheckResult] = ()
    faults: TaskFaults = field(default_factory=TaskFaults)
    doubts: tuple[str, ...] = ()


def begin(state: AnalysisState, batches: Sequence[Batch]) -> Run:
    """An analysis that starts now. How many requests its blocks hold follows from what stable did
    before."""
    before = [b for b in batches if b.revision == state.stable]
    requests = sum(len(b.seconds) for b in before)
    errors = sum(len(b.failed) for b in before)
    held = blocks.size(requests, errors) if requests >= ENOUGH else BATCH
    return Run(state=state, block=held)


def looked(policy: AnalysisPolicy, run: Run, heard: Heard, now: float) -> Run:
    """One look: what is known with what came in, and the answer."""
    fresh = [b for b in heard.batches if b.since >= run.state.started]
    observed = Observed(
        blocks=tuple(block for b in fresh for block in blocks.cut(policy, b, run.block)),
        checks=tuple(heard.checks),
        faults=heard.faults,
        counters=heard.counters,
        doubts=heard.doubts,
    )
    found = look(policy, run.state, observed, now)
    return replace(run, state=found.state, judgement=found.judgement, at=now)


def at_share(run: Run, share: int, now: float) -> Run:
    """The run of a toggle that has this share now. Requests are counted anew when it has changed:
    however many went well while fewer were reached says nothing of it, and would hide for as long
    again that a larger share fails."""
    state = run.state
    if state.final or state.share == share:
        return run
    seen = {
        name: replace(one, judged_from=max(one.judged_from, now))
        for name, one in state.seen.items()
    }
    counted = replace(
        state,
        share=share,
        shares=state.shares + 1,
        counted_from=now,
        canary_tally=Tally(),
        seen=seen,
    )
    return replace(run, state=counted)


def due(policy: AnalysisPolicy, run: Run) -> float:
    """When it is looked at next: at once if never yet, and not later than its time limit, however
    rarely it is looked at and whoever does not answer."""
    if run.judgement is None:
        return run.state.started
    usual = run.at + policy.interval
    return usual if run.state.background else min(usual, run.state.started + policy.time_limit)


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
