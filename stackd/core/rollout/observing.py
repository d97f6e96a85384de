"""How a service is observed: its tasks counted by revision, its traffic as nodes have applied it.

Makes the `Observed` that strategies decide on. Called by `look` and `depends`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from stackd.core.model import fit
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import RestartCondition, ServiceSpec
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.traffic import EndpointState, TrafficEntry
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import answers
from stackd.core.rollout.common import EVERYWHERE, Observed, Tally


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
