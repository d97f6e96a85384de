"""`wait` and `why`: what somebody waits for, and what is in the way."""

from collections.abc import AsyncIterator

import msgspec

from stackd.aio.clock import Clock
from stackd.core.model import fit
from stackd.core.model.api import NameRequest, WaitAnswer, WaitRequest, WhyAnswer
from stackd.core.model.event import Event
from stackd.core.model.node import Node, NodeReport, NodeStatus
from stackd.core.model.release import Hold, Stack
from stackd.core.model.source import RepositoryStatus
from stackd.core.model.states import TaskState
from stackd.core.model.times import rfc3339
from stackd.core.model.world import TaskView, World
from stackd.core.rollout import freezing, outcome, places
from stackd.core.rollout.phase import behind, service_phase, serving, stack_phase
from stackd.manager.api import names, troubles
from stackd.manager.api.status import WATCHED
from stackd.manager.api.tasks import lost
from stackd.store.tables import Tables
from stackd.wire.control import Caller

TIMED_OUT = 4


class WaitingApi:
    """Handlers of `wait` and `why`."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def wait(self, request: WaitRequest, caller: Caller) -> AsyncIterator[WaitAnswer]:
        """Progress, then one answer with the exit code."""
        stack, _, service = request.name.partition("/")
        goal = outcome.Goal(stack, service, request.release, request.revision, request.commit)
        if not request.commit and not request.removed:
            names.services_of(self._tables.world, request.name)
        removing = request.removed or (self._removing(stack) and not request.commit)
        deadline = self._clock.now() + request.timeout
        subscription = self._tables.subscribe(*WATCHED, RepositoryStatus)
        shown = ""
        try:
            while True:
                found = self._look(goal, removing)
                if found.code is not outcome.Code.NOT_YET:
                    yield WaitAnswer(code=int(found.code), text=found.text)
                    return
                left = deadline - self._clock.now()
                if left <= 0:
                    text = f"not within {request.timeout:g}s: {found.text}"
                    yield WaitAnswer(code=TIMED_OUT, text=text)
                    return
                if found.text != shown:
                    shown = found.text
                    yield WaitAnswer(code=-1, text=shown)
                await subscription.next(min(left, 1.0))
        finally:
            self._tables.unsubscribe(subscription)

    def _removing(self, stack: str) -> bool:
        head = self._tables.world.get(Stack, stack)
        return head is not None and head.removing

    def _look(self, goal: outcome.Goal, removing: bool) -> outcome.Outcome:
        if removing:
            return outcome.gone(self._tables.world, goal.stack)
        return outcome.outcome(self._tables.world, goal, self._clock.now())

    async def why(self, request: NameRequest, caller: Caller) -> WhyAnswer:
        """The first thing in the way of a stack, service, task or node, and the latest events."""
        answer = self._why(request.name)
        lines = (*troubles.of_manager(self._tables), *answer.lines)
        return msgspec.structs.replace(answer, lines=lines)

    def _why(self, name: str) -> WhyAnswer:
        world = self._tables.world
        now = self._clock.now()
        names.check_word(world, name, nodes=True)
        for node in world.all(Node):
            if name in (node.name, node.id):
                return _node(world, node)
        if world.task(name) is not None or "." in name.rpartition("/")[2]:
            return _task(world, names.task_of(world, name))
        if "/" in name:
            stack, service = names.moving_of(world, name)
            phase, reason = service_phase(world, stack, service, now)
            lines = (*_freezes(world, stack, now), *_service_lines(world, stack, service))
            return WhyAnswer(name=name, phase=phase.value, text=reason, lines=lines)
        head = names.stack_of(world, name)
        phase, reason = stack_phase(world, name, now)
        problem = (text,) if (text := behind(head)) else ()
        services = names.service_names(world, name)
        rest = [line for s in services for line in _service_lines(world, name, s)]
        lines = (*problem, *_freezes(world, name, now), *rest)
        return WhyAnswer(name=name, phase=phase.value, text=reason, lines=lines)


def _freezes(world: World, stack: str, now: float) -> tuple[str, ...]:
    return tuple(f"{stack} is {freezing.words(f)}" for f in freezing.standing(world, stack, now))


def _service_lines(world: World, stack: str, service: str) -> tuple[str, ...]:
    """The rollout, holds, tasks that are not well, traffic problems, then events."""
    key = f"{stack}/{service}"
    lines: list[str] = []
    state = places.state_of(world, key)
    if state is not None and state.rollout is not None:
        rollout = state.rollout
        source = rollout.source or "nothing"
        lines.append(
            f"rollout {source} -> {rollout.target}: {rollout.phase.value}"
            f" since {rfc3339(rollout.moved or rollout.started)}"
            + (f": {rollout.reason}" if rollout.reason else "")
        )
    lines += [
        f"{h.key.removeprefix(f'{key}/')} is on hold since {rfc3339(h.at)}: {h.reason}"
        for h in world.all(Hold)
        if h.key.startswith(f"{key}/")
    ]
    for view in world.tasks_of(stack, service):
        if view.live and not (serving(world, view) and view.wanted):
            lines.append(f"task {names.task_name(world, view)}: {_standing(world, view)}")
    lines += [
        f"node {names.node_name(world, report.id)}: {report.problems[key]}"
        for report in world.all(NodeReport)
        if key in report.problems
    ]
    for node in sorted({v.task.node for v in world.tasks_of(stack, service) if v.task.node}):
        lines += troubles.of_node(world, node)
    return tuple(lines) + _events(world, key)


def _standing(world: World, view: TaskView) -> str:
    since = rfc3339(view.status.at or view.task.created)
    parts = [f"{view.status.state.label} since {since}"]
    if fit.lost(world, view):
        parts.append(lost(world, view))
    if view.desired.stop:
        parts.append(f"leaving ({view.desired.leaving.value}): {view.desired.reason}")
    if view.status.error:
        parts.append(view.status.error)
    return "; ".join((*parts, *_before(world, view)))


def _before(world: World, view: TaskView) -> list[str]:
    """Why there is this task: how the one it replaces ended, and until when it is held back."""
    if view.ready or not view.wanted:
        return []
    parts = []
    told = world.get(Event, view.task.cause)
    ended = world.get(Event, told.cause) if told else None
    if told and ended and ended.object == told.object:
        parts.append(f"the one before: {ended.text}")
    if view.status.state < TaskState.ASSIGNED and view.task.not_before > view.task.created + 0.5:
        parts.append(f"held back until {rfc3339(view.task.not_before)}")
    return parts


def _task(world: World, view: TaskView) -> WhyAnswer:
    return WhyAnswer(
        name=names.task_name(world, view),
        phase=view.status.state.label,
        text=_standing(world, view),
        lines=_events(world, view.task.id, view.task.cause),
    )


def _node(world: World, node: Node) -> WhyAnswer:
    status = world.get(NodeStatus, node.id)
    state = status.state.value if status else "unknown"
    since = f" since {rfc3339(status.since)}" if status else ""
    message = f": {status.message}" if status and status.message else ""
    text = f"{state}{since}, {node.availability.value}{message}"
    lines = (*troubles.of_node(world, node.id), *_events(world, node.name))
    return WhyAnswer(name=node.name, phase=state, text=text, lines=lines)


def _events(world: World, name: str, cause: str = "", count: int = 5) -> tuple[str, ...]:
    found = [e for e in world.all(Event) if e.object == name or (cause and e.id == cause)]
    return tuple(f"{rfc3339(e.at)} {e.kind}: {e.text}" for e in found[-count:])
