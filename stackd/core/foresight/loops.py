"""The manager's deciding loops for one stack, each with what has changed for it.

Called by `virtual`, which lets them take turns. Each looks only at what has changed and at what
time alone may have changed, as the loops of the manager do.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from stackd.core.model.analysis import Analysis
from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Ids, join
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.record import Ref
from stackd.core.model.release import Hold, Override, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.network import allocate
from stackd.core.orchestrate import deadlines
from stackd.core.orchestrate import service as orchestrator
from stackd.core.rollout import growing
from stackd.core.rollout import service as rollouts
from stackd.core.schedule import assign
from stackd.core.schedule.load import Loads
from stackd.core.traffic import drain, table

TASK = frozenset({Task.TABLE, TaskDesired.TABLE, TaskStatus.TABLE})
_WHOLE = "*"
"""The key of what is looked at as a whole."""


@dataclass
class Turn:
    """What a look is given; `keys` are those to look at, by the loop's own `key`."""

    world: World
    stack: str
    now: float
    ids: Ids
    dirty: set[Ref]
    services: Sequence[str]
    """Of the stack: declared, or with something left."""


Look = Callable[[Turn, str], Decision]


@dataclass
class Loop:
    """One loop: `keys` says which keys a changed place concerns, `look` decides about one."""

    tables: frozenset[str]
    keys: Callable[[Turn, Ref], Iterable[str]]
    look: Look
    dirty: set[Ref] = field(default_factory=set)
    wakes: dict[str, float] = field(default_factory=dict)
    """Key -> when time alone may change what is decided."""

    def busy(self, now: float) -> bool:
        """Something has changed, or a key's time has come."""
        return bool(self.dirty) or any(at <= now for at in self.wakes.values())

    def turn(self, turn: Turn) -> Decision:
        """Look at what is to be looked at now; `turn.dirty` is this loop's."""
        found = {key for key, at in self.wakes.items() if at <= turn.now}
        for changed in turn.dirty:
            found.update(self.keys(turn, changed))
        decisions = []
        for key in sorted(found):
            decision = self.look(turn, key)
            decisions.append(decision)
            self.wakes.pop(key, None)
            if decision.wake_at is not None:
                self.wakes[key] = max(decision.wake_at, turn.now + 0.01)
        return join(decisions)


def loops() -> Sequence[Loop]:
    """All of them, in the order in which they take turns; they remember nothing yet."""
    counts = frozenset({ServiceState.TABLE, Stack.TABLE, Override.TABLE, *TASK})
    places = frozenset({Stack.TABLE, ServiceState.TABLE, Network.TABLE, *TASK})
    entries = frozenset({*places, ServiceAddresses.TABLE, TrafficEntry.TABLE})
    toggles = frozenset({ToggleState.TABLE, ToggleOverride.TABLE})
    answers = frozenset({Hold.TABLE, TrafficEntry.TABLE, Analysis.TABLE})
    return (
        Loop(counts | answers | toggles, _moved, _rollout),
        Loop(counts, _services, _orchestrate),
        Loop(places, _whole, _Allocator()),
        Loop(TASK, _whole, _Scheduler()),
        Loop(entries | toggles, _whole, _traffic),
        Loop(frozenset({TrafficEntry.TABLE, *TASK}), _whole, _drain),
        Loop(TASK, _waiting, _deadline),
    )


def _whole(turn: Turn, changed: Ref) -> Iterable[str]:
    return (_WHOLE,)


def _services(turn: Turn, changed: Ref) -> Iterable[str]:
    """The services of the stack that a change concerns."""
    if changed.table in TASK:
        task = turn.world.get(Task, changed.key)
        return (task.service,) if task is not None and task.stack == turn.stack else ()
    if changed.table == Stack.TABLE:
        return turn.services if changed.key == turn.stack else ()
    stack, _, rest = changed.key.partition("/")
    return (rest.partition("/")[0],) if stack == turn.stack else ()


def _moved(turn: Turn, changed: Ref) -> Iterable[str]:
    """As above; where one service has moved, others may have waited for it."""
    here = changed.table == ServiceState.TABLE and changed.key.startswith(turn.stack + "/")
    return turn.services if here else _services(turn, changed)


def _waiting(turn: Turn, changed: Ref) -> Iterable[str]:
    """The task, while it waits for a place: what comes after that has its assumed time."""
    view = turn.world.task(changed.key)
    waits = view is not None and view.task.stack == turn.stack
    return (changed.key,) if waits and view and view.status.state <= TaskState.PENDING else ()


def _rollout(turn: Turn, key: str) -> Decision:
    found = rollouts.decide(turn.world, turn.stack, key, turn.now, turn.ids)
    return join([found, growing.decide(turn.world, turn.stack, key, turn.now, turn.ids)])


def _orchestrate(turn: Turn, key: str) -> Decision:
    return orchestrator.decide(turn.world, turn.stack, key, turn.now, turn.ids)


def _deadline(turn: Turn, key: str) -> Decision:
    return deadlines.decide(turn.world, key, turn.now, 0.0, turn.ids)


def _traffic(turn: Turn, key: str) -> Decision:
    dirty = Dirty(everything=False, refs=frozenset(turn.dirty))
    return table.decide(turn.world, dirty, turn.now, turn.ids)


def _drain(turn: Turn, key: str) -> Decision:
    return drain.decide(turn.world, Dirty(), turn.now, turn.ids)


class _Allocator:
    """Remembers which tasks are new, as the loop of the manager does."""

    def __init__(self) -> None:
        self._new: set[str] = set()

    def __call__(self, turn: Turn, key: str) -> Decision:
        self._new |= {changed.key for changed in turn.dirty if changed.table in TASK}
        states = {task: turn.world.task(task) for task in self._new}
        self._new = {t for t, v in states.items() if v and v.status.state is TaskState.NEW}
        settings = allocate.Settings(cluster="simulated")
        stacks = (turn.stack,)
        return allocate.decide(turn.world, stacks, self._new, turn.now, turn.ids, settings)


class _Scheduler:
    """Remembers which tasks wait and what nodes carry, as the loop of the manager does."""

    def __init__(self) -> None:
        self._pending: set[str] = set()
        self._loads = Loads()
        self._touched: set[str] = set()

    def __call__(self, turn: Turn, key: str) -> Decision:
        for node in self._touched:
            self._loads.forget(node)
        for changed in turn.dirty:
            view = turn.world.task(changed.key)
            if view is not None and view.status.state is TaskState.PENDING:
                self._pending.add(changed.key)
            else:
                self._pending.discard(changed.key)
            if view is not None and view.task.node:
                self._loads.forget(view.task.node)
        decision = assign.decide(turn.world, self._pending, self._loads, turn.now, turn.ids)
        self._touched = assign.touched(decision)
        return decision
