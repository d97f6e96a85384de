"""The phase of a service and of a stack, with the reason in one sentence.

Called by `status`, `ls`, `why` and, through `outcome`, by `wait`.
"""

import math
from collections.abc import Sequence
from typing import assert_never

from stackd.core.model import fit
from stackd.core.model.ids import service_key
from stackd.core.model.release import Hold, Override, Stack
from stackd.core.model.rollout import Phase, Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.source import RepositoryStatus
from stackd.core.model.stack import RestartCondition, ServiceSpec
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import freezing, judge, places
from stackd.core.rollout.observing import allowed_end, traffic_problem
from stackd.core.rollout.pauses import ACTIVE, pause_left

ORDER = (
    Phase.ROLLING_BACK,
    Phase.DEGRADED,
    Phase.ABORTED,
    Phase.PAUSED,
    Phase.PROGRESSING,
    Phase.PENDING,
    Phase.HEALTHY,
)
"""A stack's phase is the first of these that one of its services has."""

Standing = tuple[Phase, str]


def service_names(world: World, stack: str) -> list[str]:
    """Services that the current release declares or that still have something left."""
    release = world.release(stack)
    names = set(release.services) if release else set()
    names |= {state.service for state in world.all(ServiceState) if state.stack == stack}
    return sorted(names)


def stack_phase(world: World, stack: str, now: float) -> Standing:
    """Where a stack stands; the reason is that of the service that decides it."""
    head = world.get(Stack, stack)
    found = [
        (name, *service_phase(world, stack, name, now)) for name in service_names(world, stack)
    ]
    if head is None or head.removing:
        left = sum(view.live for view in world.tasks_of_stack(stack))
        return Phase.PROGRESSING, f"it is being removed: {left} tasks left"
    if not found:
        return Phase.HEALTHY, "it has no services"
    name, phase, reason = min(found, key=lambda row: ORDER.index(row[1]))
    return phase, f"{name}: {reason}" if reason else ""


def behind(head: Stack) -> str:
    """Why a stack does not run what its owner declares, in a sentence; '' when it does."""
    if head.problem:
        commit = f"commit {head.seen_commit[:12]} is" if head.seen_commit else "it is"
        return f"{commit} not deployed: {head.problem}"
    return f"it was deployed by hand by {head.override}" if head.override else ""


def awaiting(world: World, head: Stack) -> str:
    """What the repository of a stack waits for a person with; '' when nothing."""
    kind, _, name = head.owner.partition(":")
    found = world.get(RepositoryStatus, name) if kind == "repo" else None
    if found is None or not found.waiting or found.waiting == found.approved:
        return ""
    asked = f"stackd approve {found.name} {found.plan}"
    return f"commit {found.waiting[:12]} waits for approval: {asked}"


def service_phase(world: World, stack: str, service: str, now: float) -> Standing:
    """Where a service stands, and why; one that is well stands where its toggles do. `service`
    may also be a toggle with stages, `SERVICE/TOGGLE`."""
    found = _place_phase(world, stack, service, now)
    if found[0] is not Phase.HEALTHY or "/" in service:
        return found
    names = places.toggles(world, stack, service)
    toggles = [(name, *_place_phase(world, stack, name, now)) for name in names]
    moving = [row for row in toggles if row[1] is not Phase.HEALTHY]
    if not moving:
        return found
    name, phase, reason = min(moving, key=lambda row: ORDER.index(row[1]))
    return phase, f"toggle {name.partition('/')[2]}: {reason}"


def _place_phase(world: World, stack: str, service: str, now: float) -> Standing:
    release = world.release(stack)
    declared = places.declared(release, service)
    state = places.state_of(world, service_key(stack, service))
    if declared is None or release is None:
        left = sum(view.live for view in world.tasks_of(stack, service))
        return Phase.PROGRESSING, f"it is being removed: {left} tasks left"
    if state is None:
        return Phase.PENDING, f"its first rollout has not begun{_held_up(world, stack, now)}"
    rollout = state.rollout
    hold = world.get(Hold, f"{state.key}/{declared.revision}")
    if rollout is not None and rollout.phase in ACTIVE:
        held_up = _held_up(world, stack, now) if hold is None else ""
        waits = f"; {declared.revision} waits{held_up}" if held_up else ""
        next_one = waits if declared.revision not in (rollout.target, state.stable) else ""
        return _active(rollout, state, f"{_reason(rollout, now)}{next_one}", hold)
    if hold is None and state.stable != declared.revision:
        waits = _held_up(world, stack, now)
        return Phase.PENDING, f"the rollout to {declared.revision} has not begun{waits}"
    return _settled(world, state, hold, now)


def _held_up(world: World, stack: str, now: float) -> str:
    """Why a rollout may not begin now, after a colon; '' when it may."""
    frozen = freezing.holding(world, stack, now)
    return f": {freezing.words(frozen)}" if frozen else ""


def _reason(rollout: Rollout, now: float) -> str:
    """What the rollout waits for, with what is left of a timed pause."""
    rest = 0.0 if rollout.stands else pause_left(rollout, now)
    return f"{rollout.reason}, {math.ceil(rest)} s left" if rest > 0 else rollout.reason


def _active(rollout: Rollout, state: ServiceState, reason: str, hold: Hold | None) -> Standing:
    stable, target = state.stable or "nothing", rollout.target
    match rollout.phase:
        case RolloutPhase.WAITING:
            return Phase.PENDING, reason or "its rollout is about to begin"
        case RolloutPhase.PROGRESSING if rollout.waits or rollout.stands:
            return Phase.PAUSED, f"{stable} -> {target}: {reason}"
        case RolloutPhase.PROGRESSING:
            refused = f"; {hold.revision} refused: {hold.reason}" if hold else ""
            return Phase.PROGRESSING, f"{stable} -> {target}: {reason}{refused}"
        case RolloutPhase.PAUSED:
            return Phase.PAUSED, f"{stable} -> {target} is paused: {reason}"
        case RolloutPhase.ROLLING_BACK:
            why = f" because {hold.reason}" if hold else ""
            return Phase.ROLLING_BACK, f"back to {stable}: {reason}{why}"
        case RolloutPhase.COMPLETE | RolloutPhase.ABORTED | RolloutPhase.FAILED:
            raise AssertionError(f"a rollout that is {rollout.phase} is not active")
        case never:
            assert_never(never)


def _settled(world: World, state: ServiceState, hold: Hold | None, now: float) -> Standing:
    if isinstance(state, ToggleState):
        refused = f"; {hold.revision} refused: {hold.reason}" if hold else ""
        return (Phase.ABORTED if hold else Phase.HEALTHY), f"at {state.stable}{refused}"
    spec = world.declared(state.stack, state.service)
    assert spec is not None, "only declared services get here"
    wanted = fit.replicas(world, state.stack, spec)
    tasks = world.tasks_of(state.stack, state.service)
    known = (v for v in tasks if v.task.revision == state.stable)  # others are about to go
    views = [v for v in known if v.wanted and not fit.aside(world, v, spec)]
    ready = sum(serving(world, view) for view in views)
    done = len({v.task.slot for v in views if allowed_end(v, spec)})
    if state.stable is None:
        failed = state.rollout.reason if state.rollout else "no rollout has begun"
        return Phase.DEGRADED, f"no revision has ever run in full: {failed}"
    if ready + done < wanted:
        return Phase.DEGRADED, f"{ready} of {wanted} tasks are ready{_first(world, views, spec)}"
    if hold is not None:
        running = f"running {state.stable}"
        return Phase.ABORTED, f"{running}; {hold.revision} refused: {hold.reason}"
    override = world.get(Override, state.key)
    by_hand = f", set by {override.by}; declared {override.declared}" if override else ""
    ended = f", {done} ended well" if done else ""
    problem = traffic_problem(world, state.key)
    but = f"; {problem}" if problem else ""
    if state.warm:
        but += f"; {state.warm} stays ready to take over again"
    return Phase.HEALTHY, f"{ready} of {wanted} tasks are ready{ended}{by_hand}{but}"


def serving(world: World, view: TaskView) -> bool:
    """The task is ready, and its node is there to prove it."""
    return view.ready and not fit.lost(world, view)


def _first(world: World, views: Sequence[TaskView], spec: ServiceSpec) -> str:
    """What the first task that is not ready waits for, or why there is none any more."""
    waiting = [v for v in views if v.live and not serving(world, v)]
    if not waiting:
        return _given_up([v for v in views if not v.live and not allowed_end(v, spec)], spec)
    view = min(waiting, key=lambda v: (not v.status.error, v.task.created, v.task.id))
    if fit.lost(world, view):
        return f"; {view.task.service}.{view.task.slot}: its node is down"
    return f"; {view.task.service}.{view.task.slot}: {judge.cause(view)}"


def _given_up(ended: Sequence[TaskView], spec: ServiceSpec) -> str:
    limited = spec.restart.max_attempts > 0 or spec.restart.condition is RestartCondition.NONE
    if not ended or not limited:
        return ""
    last = max(ended, key=lambda v: (v.task.created, v.task.id))
    why = f"{last.task.service}.{last.task.slot}: {judge.cause(last)}"
    return f"; {why}; its restart policy starts no other"
