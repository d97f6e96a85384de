"""How a task that was asked to go leaves the traffic without losing a request.

The decider of `manager.drains`, the only writer of `TaskDesired.leaving`:

    NO -> [WITHDRAWING] -> DRAINING -> OUT -> DONE (and desired SHUTDOWN, in the same write)

Each stage waits until the table shows it, every node that carries traffic has applied that entry,
and where it counts, has counted to zero. `drain_timeout` caps the counting of WITHDRAWING and
DRAINING together; ACK_LIMIT caps the wait for a node that is heard but does not apply. Nothing
here is remembered: a new leader goes on from the records and collects the reports again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import msgspec

from stackd.core.model import fit
from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.ids import service_key
from stackd.core.model.node import NodeReport
from stackd.core.model.record import ref
from stackd.core.model.states import Leaving, TaskState
from stackd.core.model.task import TaskDesired
from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry
from stackd.core.model.world import TaskView, World

STORE_EVERY = 5.0
"""Seconds between writes of the time left."""
ACK_LIMIT = 20.0
"""Seconds waited for acks beyond the drain timeout: longer than a silent node needs to be down."""


@dataclass(frozen=True)
class Scene:
    """What decides about the leaving tasks of one service."""

    now: float
    key: str
    entry: TrafficEntry | None
    revision: int
    """Store revision of the entry."""
    reports: Sequence[NodeReport]
    """One for each node that may carry traffic; an empty one where none has come yet."""
    stays: bool
    """Some ready endpoint with weight is not leaving."""

    def endpoint(self, task_id: str) -> Endpoint | None:
        """The task's endpoint in the table."""
        endpoints = self.entry.endpoints if self.entry else ()
        return next((e for e in endpoints if e.task == task_id), None)

    @property
    def acked(self) -> bool:
        """Every node has applied the entry as it is now."""
        return all(r.applied >= self.revision for r in self.reports)

    def idle(self, task_id: str) -> bool:
        """Every node has counted under this entry and carries nothing to the task."""
        return all(
            r.counted >= self.revision and not r.in_flight.get(task_id) for r in self.reports
        )


def decide(world: World, dirty: Dirty, now: float, ids: Ids) -> Decision:
    """Take every leaving task one stage further if it may go, and say when to look again."""
    del dirty  # what leaves is indexed, and every report may concern all of it
    draft = Draft(now, ids)
    wake: float | None = None
    reports = fit.carriers(world)
    if not reports:
        return draft.decision()  # nobody carries anything out, and nobody could say so
    scenes: dict[str, Scene] = {}
    for view in world.leaving():
        key = service_key(view.task.stack, view.task.service)
        if key not in scenes:
            scenes[key] = _scene(world, key, reports, now)
        new = step(view, scenes[key])
        if new == view.desired:
            wake = earliest(wake, next_look(new, now))
        else:
            wake = earliest(wake, None if new.leaving is Leaving.DONE else next_look(new, now))
            _write(draft, view, new, scenes[key])
    return draft.decision(wake)


def _write(draft: Draft, view: TaskView, new: TaskDesired, scene: Scene) -> None:
    """A task that was never in the table goes at once, provided that it has not come in since."""
    straight = new.leaving is Leaving.DONE and view.desired.leaving is Leaving.NO
    relies = [ref(TrafficEntry, scene.key)] if straight else []
    cut = sum(r.in_flight.get(view.task.id, 0) for r in scene.reports)
    draining = view.desired.leaving is Leaving.DRAINING
    if draining and new.leaving is Leaving.OUT and cut:
        text = f"{cut} requests or connections were still open when drain_timeout had passed"
        draft.group([new, draft.event("task.cut", view.task.id, text, new.cause)], relies)
    else:
        draft.group([new], relies)


def _scene(world: World, key: str, reports: Sequence[NodeReport], now: float) -> Scene:
    entry = world.get(TrafficEntry, key)
    return Scene(
        now=now,
        key=key,
        entry=entry,
        revision=world.rev(TrafficEntry.TABLE, key),
        reports=reports,
        stays=entry is not None and any(_stays(world, entry, e) for e in entry.endpoints),
    )


def _stays(world: World, entry: TrafficEntry, endpoint: Endpoint) -> bool:
    view = world.task(endpoint.task)
    return (
        endpoint.state is EndpointState.READY
        and view is not None
        and view.wanted
        and view.ready
        and not fit.cut_off(world, view)
        and entry.weights.get(endpoint.revision, 0) > 0
    )


def left(desired: TaskDesired, now: float) -> float:
    """Seconds left of the stage. Time in which nobody decided counts for 5 s at most."""
    passed = min(max(now - desired.drain_at, 0.0), STORE_EVERY)
    return desired.drain_left - passed


def next_look(desired: TaskDesired, now: float) -> float:
    """When time alone may change what is to be done."""
    rest = left(desired, now)
    limits = [after for after in (rest, rest + ACK_LIMIT) if after > 0]
    return now + min([*limits, max(0.0, desired.drain_at + STORE_EVERY - now)])


def step(view: TaskView, scene: Scene) -> TaskDesired:
    """The task's desired record after this look: one stage further, or its time stored, or as
    it was."""
    desired = view.desired
    endpoint = scene.endpoint(view.task.id)
    running = view.status.state is TaskState.RUNNING
    rest = left(desired, scene.now)
    match desired.leaving:
        case Leaving.NO:
            return _first(desired, scene, endpoint if running else None)
        case _ if not running:
            return _done(desired)
        case Leaving.WITHDRAWING:
            quiet = scene.entry is not None and not scene.entry.listening and scene.acked
            over = quiet and (scene.idle(view.task.id) or rest <= 0)
            if scene.stays or endpoint is None or over or rest <= -ACK_LIMIT:
                return _enter(desired, Leaving.DRAINING, max(0.0, rest), scene.now)
        case Leaving.DRAINING:
            shown = endpoint is not None and endpoint.state is EndpointState.DRAINING
            over = shown and scene.acked and (scene.idle(view.task.id) or rest <= 0)
            if endpoint is None or over or rest <= -ACK_LIMIT:
                return _enter(desired, Leaving.OUT, 0.0, scene.now)
        case Leaving.OUT:
            if (endpoint is None and scene.acked) or rest <= -ACK_LIMIT:
                return _done(desired)
        case Leaving.DONE:
            return desired
        case never:
            assert_never(never)
    return _stored(desired, scene.now)


def _first(desired: TaskDesired, scene: Scene, endpoint: Endpoint | None) -> TaskDesired:
    if endpoint is None or scene.entry is None:
        return _done(desired)
    stage = Leaving.DRAINING if scene.stays else Leaving.WITHDRAWING
    return _enter(desired, stage, scene.entry.drain_timeout, scene.now)


def _enter(desired: TaskDesired, stage: Leaving, rest: float, now: float) -> TaskDesired:
    return msgspec.structs.replace(desired, leaving=stage, drain_left=rest, drain_at=now)


def _done(desired: TaskDesired) -> TaskDesired:
    return msgspec.structs.replace(
        desired, leaving=Leaving.DONE, state=max(desired.state, TaskState.SHUTDOWN)
    )


def _stored(desired: TaskDesired, now: float) -> TaskDesired:
    """With the time left written down every 5 s, and at once when the clock has gone back."""
    if 0 <= now - desired.drain_at < STORE_EVERY:
        return desired
    return msgspec.structs.replace(desired, drain_left=left(desired, now), drain_at=now)
