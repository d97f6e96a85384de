"""`status`: what is declared, what runs, what is held or overridden; and its changes."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import msgspec

from stackd.aio.clock import Clock
from stackd.core.model.analysis import Analysis
from stackd.core.model.api import (
    NameRequest,
    RevisionRow,
    ServiceStatus,
    StackStatus,
    StatusAnswer,
    TaskLife,
)
from stackd.core.model.event import Event
from stackd.core.model.fit import replicas
from stackd.core.model.node import NodeReport, NodeStatus
from stackd.core.model.release import Freeze, Hold, Override, Release, Revision, Stack
from stackd.core.model.rollout import RolloutPhase, ServiceState, ToggleState
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.times import rfc3339
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.rollout import freezing
from stackd.core.rollout import steps as rollout_steps
from stackd.core.rollout.pauses import warm_left
from stackd.core.rollout.phase import awaiting, behind, service_phase, serving, stack_phase
from stackd.core.traffic.effective import weights as effective_weights
from stackd.manager.api import names, troubles, underway
from stackd.manager.api.flags import flag_rows
from stackd.store.tables import Tables
from stackd.wire.control import Caller

WATCHED = (
    Stack,
    Release,
    ServiceState,
    Task,
    TaskDesired,
    TaskStatus,
    NodeStatus,
    NodeReport,
    TrafficEntry,
    Hold,
    Freeze,
    Override,
    Analysis,
    ToggleOverride,
    ToggleState,
)

_EVENTS, _EVENTS_OF_A_SERVICE = 5, 8


Measured = Callable[[str], Mapping[str, int]]
"""`STACK/SERVICE` -> requests of each revision since its present weights act."""


class StatusApi:
    """Handlers about status."""

    def __init__(self, tables: Tables, clock: Clock, measured: Measured) -> None:
        self._tables = tables
        self._clock = clock
        self._measured = measured

    async def status(self, request: NameRequest, caller: Caller) -> StatusAnswer:
        """Everything, a stack, or one service."""
        world = self._tables.world
        stack, _, service = request.name.partition("/")
        if service:
            names.service_of(world, request.name)
        heads = [names.stack_of(world, stack)] if stack else list(world.all(Stack))
        now = self._clock.now()
        return StatusAnswer(
            stacks=tuple(self._stack(world, head, now) for head in heads),
            service=service,
            troubles=troubles.of_cluster(self._tables),
            events=tuple(_recent(world, request.name)),
            lives=dict(_lives(world, heads, now)),
        )

    def _stack(self, world: World, head: Stack, now: float) -> StackStatus:
        found = stack_status(world, head, now)
        services = tuple(
            msgspec.structs.replace(s, measured=self._measured(f"{s.stack}/{s.service}"))
            for s in found.services
        )
        return msgspec.structs.replace(found, services=services)

    async def watch(self, request: NameRequest, caller: Caller) -> AsyncIterator[StatusAnswer]:
        """The status now, and again whenever it changes, at the latest after a second."""
        subscription = self._tables.subscribe(*WATCHED)
        try:
            while True:
                yield await self.status(request, caller)
                await subscription.next(1.0)
        finally:
            self._tables.unsubscribe(subscription)


def stack_status(world: World, head: Stack, now: float) -> StackStatus:
    """The status of one stack."""
    phase, _ = stack_phase(world, head.name, now)
    return StackStatus(
        stack=head.name,
        release=head.release,
        commit=head.commit,
        seen_commit=head.seen_commit,
        owner=head.owner,
        phase="removing" if head.removing else phase.value,
        services=tuple(
            service_status(world, head, service, now)
            for service in names.service_names(world, head.name)
        ),
        frozen=tuple(freezing.words(f) for f in freezing.standing(world, head.name, now)),
        problem=behind(head) or awaiting(world, head),
    )


def service_status(world: World, head: Stack, service: str, now: float) -> ServiceStatus:
    """The status of one service."""
    key = f"{head.name}/{service}"
    spec = world.declared(head.name, service)
    state = world.get(ServiceState, key)
    phase, reason = service_phase(world, head.name, service, now)
    weights = _weights(world, key)
    rows = _revisions(world, head.name, service, weights)
    override = world.get(Override, key)
    steps, step = _steps(spec, state, rows)
    going = underway.rollout_row(world, state, now) if state else None
    return ServiceStatus(
        stack=head.name,
        service=service,
        phase=phase.value,
        reason=reason,
        strategy=spec.strategy.kind.value if spec else "",
        step=step,
        steps=steps,
        weights=dict(state.weights) if state and state.weights else weights,
        revisions=rows,
        release=head.release,
        commit=head.commit,
        owner=head.owner,
        hold=tuple(
            f"{_held(h)} refused: {h.reason}"
            for h in world.all(Hold)
            if h.stack == head.name and h.service.partition("/")[0] == service
        ),
        override={
            "replicas": override.replicas,
            "declared": override.declared,
            "by": override.by,
            "at": rfc3339(override.at),
        }
        if override
        else None,
        rollout=going,
        analyses=tuple(underway.analysis_rows(world, state)) if state else (),
        features=tuple(flag_rows(world, head.name, now, service)),
        labels=dict(spec.deploy_labels) if spec else {},
        variants=underway.variants_row(world, state) if state else None,
        kept_warm={state.warm: round(warm_left(state, now), 1)} if state and state.warm else {},
    )


def _held(hold: Hold) -> str:
    toggle = hold.service.partition("/")[2]
    return f"toggle {toggle} at {hold.revision}" if toggle else hold.revision


def _steps(
    spec: ServiceSpec | None, state: ServiceState | None, rows: tuple[RevisionRow, ...]
) -> tuple[tuple[str, ...], int]:
    """The steps and how many of them are done. A rolling or recreate rollout has one a task: how
    many of the target are ready; the last of the others is to take over."""
    if state is None or state.rollout is None:
        return (), 0
    if spec is not None and spec.strategy.kind.weighted and state.rollout.source is not None:
        names = rollout_steps.words(spec.strategy)
        complete = state.rollout.phase is RolloutPhase.COMPLETE
        return names, len(names) if complete else min(state.rollout.step, len(names) - 1)
    target = next((r for r in rows if r.id == state.rollout.target), None)
    total = sum(r.desired for r in rows)
    done = state.rollout.phase is RolloutPhase.COMPLETE
    ready = target.ready if target else 0
    return tuple(f"replace task {n + 1}" for n in range(total)), total if done else ready


def _weights(world: World, key: str) -> dict[str, int]:
    entry = world.get(TrafficEntry, key)
    return dict(effective_weights(entry)) if entry else {}


def _revisions(
    world: World, stack: str, service: str, weights: dict[str, int]
) -> tuple[RevisionRow, ...]:
    """Revisions that are wanted or still have tasks, the target first; of a service scaled to 0
    the stable one."""
    state = world.get(ServiceState, f"{stack}/{service}")
    tasks = [t for t in world.tasks_of(stack, service) if t.live]
    spec = world.declared(stack, service)
    wanted = dict(state.counts) if state else {}
    ids = {t.task.revision for t in tasks} | {r for r, n in wanted.items() if n}
    if not ids and state and state.stable:
        ids = {state.stable}
    rows = []
    for revision_id in sorted(ids):
        own = [t for t in tasks if t.task.revision == revision_id]
        revision = world.get(Revision, f"{stack}/{service}/{revision_id}")
        desired = wanted.get(revision_id, 0)
        if desired < 0 and spec is not None:
            desired = replicas(world, stack, spec)
        rows.append(
            RevisionRow(
                id=revision_id,
                role=_role(state, revision_id),
                image=revision.image_name if revision else "",
                desired=desired,
                running=sum(t.status.state.label == "running" for t in own),
                ready=sum(serving(world, t) and t.wanted for t in own),
                weight=weights.get(revision_id, 0),
            )
        )
    return tuple(sorted(rows, key=lambda r: ("target", "stable", "old").index(r.role)))


def _role(state: ServiceState | None, revision: str) -> str:
    if state is None:
        return "old"
    if state.stable == revision:
        return "stable"
    rollout = state.rollout
    return "target" if rollout is not None and rollout.target == revision else "old"


def _lives(world: World, heads: Sequence[Stack], now: float) -> Iterator[tuple[str, TaskLife]]:
    for head in heads:
        for view in world.tasks_of_stack(head.name):
            if view.live:
                age = round(max(0.0, now - view.task.created), 1)
                yield view.task.id, TaskLife(age=age, restarts=view.task.attempt)


def _recent(world: World, name: str) -> list[str]:
    """The latest events about `name` and what is part of it."""
    parts = (f"{name}/", f"{name}.") if "/" in name else (f"{name}/",)
    about = [
        e for e in world.all(Event) if not name or e.object == name or e.object.startswith(parts)
    ]
    count = _EVENTS_OF_A_SERVICE if "/" in name else _EVENTS
    return [f"{rfc3339(e.at)} {e.kind} {e.object} {e.text}" for e in about[-count:]]
