"""How long tasks are taken to start and to stop, and what their agents would report.

Called by `virtual`: simulated tasks all come up, after the time that those of their service took
that run now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import msgspec

from stackd.core.model import fit
from stackd.core.model.ids import service_key
from stackd.core.model.release import Revision
from stackd.core.model.states import Health, TaskState
from stackd.core.model.task import TaskStatus
from stackd.core.model.world import TaskView, World

START = 5.0
"""Seconds from being placed to running and ready, of a service that has never been seen to."""
STOP = 1.0
"""Seconds from being told to stop to having ended."""


@dataclass(frozen=True)
class Pace:
    """Start times by service of one stack; those in `measured` are of its own tasks."""

    starts: Mapping[str, float]
    measured: frozenset[str]


def pace(world: World, stack: str, services: Iterable[str]) -> Pace:
    """As these services of a stack have been seen to start."""
    starts: dict[str, float] = {}
    measured = set()
    for name in services:
        known = [
            view.status.ready_at - max(view.task.created, view.task.not_before)
            for view in world.tasks_of(stack, name)
            if view.ready and view.status.ready_at
        ]
        starts[name] = round(max(0.0, median(known)), 3) if known else START
        if known:
            measured.add(name)
    return Pace(starts, frozenset(measured))


def next_report(
    world: World, view: TaskView, now: float, pace: Pace
) -> tuple[float, TaskStatus] | None:
    """When the task's agent says something new, and what; None = nothing until asked to go."""
    status, task = view.status, view.task
    if status.state < TaskState.ASSIGNED or status.state.finished or fit.lost(world, view):
        return None
    if view.desired.state >= TaskState.SHUTDOWN:
        ended = msgspec.structs.replace(
            status, state=TaskState.SHUTDOWN, ready=False, health=Health.NONE
        )
        return now + STOP, ended
    if view.ready:
        return None
    runs = max(now, status.seen + pace.starts.get(task.service, START))
    proof = 0.0 if _checked(world, view) else task.monitor
    ready = msgspec.structs.replace(
        status,
        state=TaskState.RUNNING,
        ready=True,
        health=Health.HEALTHY if _health(world, view) else Health.NONE,
        error="",
        ready_at=runs,
        proven=proof,
    )
    return runs + proof, ready


def _checked(world: World, view: TaskView) -> bool:
    """Something else than time says that it is ready."""
    return bool(view.task.ready_ports) or _health(world, view)


def _health(world: World, view: TaskView) -> bool:
    task = view.task
    key = f"{service_key(task.stack, task.service)}/{task.revision}"
    revision = world.get(Revision, key)
    check = revision.container.healthcheck if revision else None
    return check is not None and not check.disabled
