"""One service: turns its counts into tasks to create and tasks to ask to go.

The decider of the orchestrator loop (`manager.orchestrator`). It decides nothing about revisions
and never stops a task itself: it asks, and the drain loop takes the task out of the traffic first.
"""

from collections.abc import Mapping, Sequence

import msgspec

from stackd.core.model import fit
from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.ids import RevisionId, TaskId, service_key
from stackd.core.model.record import Record, ref
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.stack import Mode, RestartPolicy, ServiceSpec
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView, World
from stackd.core.orchestrate import global_, moving, replicated, slots


def decide(world: World, stack: str, service: str, now: float, ids: Ids) -> Decision:
    """Create and ask to go what makes the service's counts true."""
    draft = Draft(now, ids)
    state = world.get(ServiceState, service_key(stack, service))
    spec = world.declared(stack, service)
    scene = _scene(world, stack, service, spec, state)
    choice = slots.choose(_numbers(state, len(scene.slots)), scene)
    relies = [ref(ServiceState, service_key(stack, service))]
    for stop in choice.stop:
        cause = state.rollout.cause if state and state.rollout else ""
        draft.group(ask_to_go(stop.task, stop.reason, cause, now), relies)
    for start in choice.start:
        draft.group(_create(draft, state, spec, start), relies)
    return draft.decision()


def _numbers(state: ServiceState | None, everywhere: int) -> Mapping[str, int]:
    """Counts as numbers; `everywhere`: how many a global service's are."""
    counts = state.counts if state else {}
    return {r: everywhere if n == global_.EVERYWHERE else n for r, n in counts.items()}


def _scene(
    world: World, stack: str, service: str, spec: ServiceSpec | None, state: ServiceState | None
) -> slots.Scene:
    views = world.tasks_of(stack, service)
    if spec is None:
        return slots.Scene(slots=(), tasks=tuple(views), policy=RestartPolicy())
    wanted = (global_ if spec.mode is Mode.GLOBAL else replicated).slots(world, stack, spec)
    tasks = _known(world, views, spec, state)
    found = moving.moves(world, tasks, spec)
    heard = [view for view in tasks if not fit.lost(world, view)]
    wish = moving.Wish(_numbers(state, len(wanted)), len(wanted))
    now = moving.begun(found, heard, wish, spec)
    rollout = state.rollout if state else None
    return slots.Scene(
        slots=tuple(wanted),
        tasks=tasks,
        policy=spec.restart,
        exclusive=moving.exclusive(spec),
        leaving={task: why for task, why in found.all.items() if task in now},
        later=frozenset(found.all) - now,
        target=rollout.target if rollout else "",
        began=rollout.started if rollout else 0,
        counted=frozenset(rollout.counted) if rollout and _counts_failures(rollout) else None,
    )


def _counts_failures(rollout: Rollout) -> bool:
    return rollout.phase is RolloutPhase.PROGRESSING


def _known(
    world: World, views: Sequence[TaskView], spec: ServiceSpec, state: ServiceState | None
) -> tuple[TaskView, ...]:
    """The tasks that count. One of a global service that is on a paused node, or on one that is
    down and of the revision that runs everywhere, is left to itself: nothing else could take its
    place, and if it is still there when the node is back, nothing has to be begun anew."""
    if spec.mode is not Mode.GLOBAL or state is None:
        return tuple(views)
    everywhere = {r for r, count in state.counts.items() if count == global_.EVERYWHERE}

    def left(view: TaskView) -> bool:
        gone = view.task.revision in everywhere and fit.lost(world, view)
        return view.live and view.wanted and (gone or fit.aside(world, view, spec))

    return tuple(view for view in views if not left(view))


def ask_to_go(view: TaskView, reason: str, cause: str, now: float) -> list[Record]:
    """The task's records once it is asked to go. One that no agent knows yet ends at once."""
    asked = msgspec.structs.replace(
        view.desired, stop=True, reason=reason, stop_at=now, cause=cause
    )
    if view.status.state >= TaskState.ASSIGNED:
        return [asked]
    ended = msgspec.structs.replace(
        view.status, state=TaskState.SHUTDOWN, at=now, seen=now, error=""
    )
    return [asked, ended]


def _create(
    draft: Draft, state: ServiceState | None, spec: ServiceSpec | None, start: slots.Start
) -> list[Record]:
    assert state is not None, "only services with a state have counts"
    assert spec is not None, "only declared services have slots"
    name = f"{state.stack}/{state.service}.{start.slot}"
    records: list[Record] = []
    rollout = state.rollout
    cause = rollout.cause if rollout and rollout.target == start.revision else ""
    if start.replaces is not None:
        error = start.replaces.status.error or start.replaces.desired.reason
        last_state = (
            TaskState.FAILED if start.replaces.desired.failed else start.replaces.status.state
        )
        word = last_state.label
        failed = draft.event(f"task.{word}", name, error or f"ended as {word}", cause)
        records.append(failed)
        cause = failed.id
    after = start.restart.not_before - draft.now
    text = f"revision {start.revision}" + (f", starts in {after:.0f} s" if after > 0.5 else "")
    kind = "task.replaced" if start.replaces else "task.created"
    event = draft.event(kind, name, text, cause)
    task = Task(
        id=TaskId(draft.ids()),
        stack=state.stack,
        service=state.service,
        slot=start.slot,
        revision=RevisionId(start.revision),
        created=draft.now,
        node=start.slot if spec.mode is Mode.GLOBAL else "",
        ready_ports=tuple(dict.fromkeys(port.target for port in spec.ports)),
        monitor=spec.strategy.monitor,
        not_before=max(0.0, start.restart.not_before),
        cause=event.id,
        attempt=start.restart.attempt,
    )
    status = TaskStatus(id=task.id, state=TaskState.NEW, at=draft.now, seen=draft.now)
    return [task, TaskDesired(id=task.id, cause=event.id), status, event, *records]
