"""Which slots get a task of which revision, and which tasks go, so that the counts become true.

Called by `service`; pure choice, no records. Old and new task of a replacement share a slot.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stackd.core.model.ids import TaskId
from stackd.core.model.stack import RestartPolicy
from stackd.core.model.world import TaskView
from stackd.core.orchestrate import restart
from stackd.core.orchestrate.replicated import order


@dataclass(frozen=True)
class Scene:
    """What is known of one service when the choice is made."""

    slots: tuple[str, ...]
    """The slots to fill, in order."""
    tasks: tuple[TaskView, ...]
    """All its known tasks."""
    policy: RestartPolicy
    exclusive: bool = False
    """Two tasks never share a slot: a new one waits until the old one has ended (stop-first)."""
    leaving: Mapping[TaskId, str] = field(default_factory=dict)
    """Tasks that must be replaced although they run, and why: their node is drained, say."""
    later: frozenset[TaskId] = frozenset()
    """Tasks that must be replaced too, but whose turn has not come."""
    target: str = ""
    """The revision of the last rollout; its tasks from before `began` do not count as attempts."""
    began: float = 0
    counted: frozenset[str] | None = None
    """While it runs: failed tasks of the target that the rollout has taken into account. Others
    are not replaced yet, since they may end it."""

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The slots to fill, to look one up."""
        return frozenset(self.slots)


@dataclass(frozen=True)
class Start:
    """A task to create. `replaces`: the task of the slot that ended, or None."""

    slot: str
    revision: str
    restart: restart.Restart
    replaces: TaskView | None


@dataclass(frozen=True)
class Stop:
    """A task to be asked to go, and why."""

    task: TaskView
    reason: str


@dataclass(frozen=True)
class Choice:
    """What makes the counts true now."""

    start: tuple[Start, ...]
    stop: tuple[Stop, ...]


@dataclass(frozen=True)
class _Present:
    """The tasks that are meant to run, looked up by slot and node."""

    tasks: tuple[TaskView, ...]
    by_slot: Mapping[str, tuple[TaskView, ...]]
    on_node: Mapping[str, int]


def _present(tasks: Sequence[TaskView]) -> _Present:
    found = tuple(v for v in tasks if v.live and v.wanted)
    by_slot: dict[str, tuple[TaskView, ...]] = {}
    for view in found:
        by_slot[view.task.slot] = (*by_slot.get(view.task.slot, ()), view)
    return _Present(found, by_slot, Counter(v.task.node for v in found))


def choose(counts: Mapping[str, int], scene: Scene) -> Choice:
    """The tasks to create and to ask to go so that each revision has its count."""
    stops: list[Stop] = []
    starts: list[Start] = []
    present = _present(scene.tasks)
    revisions = {v.task.revision for v in present.tasks} | {r for r, n in counts.items() if n}
    for revision in sorted(revisions):
        mine = [v for v in present.tasks if v.task.revision == revision]
        count = counts.get(revision, 0)
        gone: list[Stop] = []
        if len(revisions) == 1:
            mine, gone = _without_strays(mine, present, count, scene)
        gone += _excess(mine, present, count, scene)
        stops.extend(gone)
        going = {stop.task.task.id for stop in gone}
        staying = [v for v in mine if v.task.id not in going]
        starts.extend(_missing(revision, staying, count, scene, starts))
    return Choice(tuple(starts), tuple(stops))


def _without_strays(
    mine: Sequence[TaskView], present: _Present, count: int, scene: Scene
) -> tuple[list[TaskView], list[Stop]]:
    """The tasks of wanted slots, and which of the others go: a rollout may have left one in a
    slot that is no longer wanted, which serves on until those that are wanted are ready."""
    inside = [v for v in mine if v.task.slot in scene.wanted or v.task.id in scene.leaving]
    strays = [v for v in mine if v.task.slot not in scene.wanted and v.task.id not in scene.leaving]
    strays.sort(key=lambda v: _first_to_go(v, present, scene))
    kept = max(0, count - sum(v.ready for v in inside))
    gone = strays[: max(0, len(strays) - kept)]
    return inside, [Stop(view, _why(view, present, scene)) for view in gone]


def _excess(mine: Sequence[TaskView], present: _Present, count: int, scene: Scene) -> list[Stop]:
    moving = [v for v in mine if v.task.id in scene.leaving]
    staying = [v for v in mine if v.task.id not in scene.leaving]
    ready = {v.task.slot for v in staying if v.ready}
    stops = [
        Stop(view, scene.leaving[view.task.id])
        for view in moving
        if scene.exclusive or view.task.slot in ready or view.task.slot not in scene.wanted
    ]
    staying, doubles = _doubles(staying)
    serving = sum(v.ready for v in staying)
    stops += [
        Stop(view, "its slot has another task")
        for view in doubles
        if not view.ready or serving >= count
    ]
    replaced = {v.task.slot for v in staying}
    going = {stop.task.task.id for stop in stops}
    alone = [v for v in moving if v.task.slot not in replaced and v.task.id not in going]
    surplus = len(staying) + len(alone) - count
    if surplus > 0:
        ranked = sorted([*staying, *alone], key=lambda v: _first_to_go(v, present, scene))
        stops += [Stop(view, _why(view, present, scene)) for view in ranked[:surplus]]
    return stops


def _doubles(staying: Sequence[TaskView]) -> tuple[list[TaskView], list[TaskView]]:
    """The task that each slot keeps, and those beside it, left when a drain was called off."""
    kept: dict[str, TaskView] = {}
    doubles = []
    for view in sorted(staying, key=lambda v: (not v.ready, v.task.created, v.task.id)):
        if kept.setdefault(view.task.slot, view) is not view:
            doubles.append(view)
    return list(kept.values()), doubles


def _first_to_go(
    view: TaskView, present: _Present, scene: Scene
) -> tuple[bool, bool, bool, bool, int, int, str]:
    """Sort key: slots no longer wanted, then tasks not ready, then those that must be replaced
    anyway, then slots that another revision has ready, then the busiest node, then the highest
    slot."""
    return (
        view.task.slot in scene.wanted,
        view.ready,
        view.task.id not in scene.leaving and view.task.id not in scene.later,
        not any(v.ready for v in _others(view, present)),
        -present.on_node[view.task.node],
        -order(view.task.slot)[0],
        view.task.id,
    )


def _others(view: TaskView, present: _Present) -> list[TaskView]:
    shared = present.by_slot.get(view.task.slot, ())
    return [v for v in shared if v.task.revision != view.task.revision]


def _why(view: TaskView, present: _Present, scene: Scene) -> str:
    if view.task.slot not in scene.wanted:
        return "the service has fewer slots now"
    others = _others(view, present)
    if others:
        return f"replaced by revision {others[0].task.revision}"
    return f"revision {view.task.revision} is wanted less"


def _missing(
    revision: str, staying: Sequence[TaskView], count: int, scene: Scene, planned: Sequence[Start]
) -> list[Start]:
    """Slots in which to create a task of `revision`, at most as many as are missing."""
    keep = [v for v in staying if v.task.id not in scene.leaving]
    ended = _ended(scene, revision)
    filled = {v.task.slot for v in keep}
    free = scene.wanted - filled
    open_ = {slot: last for slot, last in ended.items() if slot in free}
    over = {s for s, last in open_.items() if restart.next_start(scene.policy, last) is None}
    later = {s for s, last in open_.items() if _waits(scene, revision, last[-1])} - over
    missing = count - len(filled) - len(over) - len(later)
    occupied = Counter(v.task.slot for v in scene.tasks if v.live and v.wanted)
    occupied.update(start.slot for start in planned)
    blocked = filled | over | later
    if scene.exclusive:
        blocked |= {v.task.slot for v in scene.tasks if v.live}
        blocked |= {start.slot for start in planned}
    candidates = [slot for slot in scene.slots if slot not in blocked]
    moving = {v.task.slot for v in staying} - filled
    candidates.sort(key=lambda s: (s not in moving, s not in ended, occupied[s] > 0))
    starts = []
    for slot in candidates[: max(0, missing)]:
        last = ended.get(slot, [])
        how = restart.next_start(scene.policy, last) or restart.Restart()
        starts.append(Start(slot, revision, how, last[-1] if last else None))
    return starts


def _waits(scene: Scene, revision: str, last: TaskView) -> bool:
    """The slot's failed task is still ending, or the rollout has not counted it yet."""
    uncounted = (
        scene.counted is not None
        and revision == scene.target
        and restart.unexpected(last)
        and last.task.id not in scene.counted
    )
    return last.live or uncounted


def _ended(scene: Scene, revision: str) -> dict[str, list[TaskView]]:
    """Slot -> its tasks of the revision that ended by themselves, oldest first, since the last
    one that was asked to go for another reason."""
    by_slot: dict[str, list[TaskView]] = {}
    since = scene.began if revision == scene.target else 0
    mine = (v for v in scene.tasks if v.task.revision == revision and v.task.created >= since)
    for view in sorted(mine, key=lambda v: (v.task.created, v.task.id)):
        if view.live and view.wanted:
            continue
        if view.desired.stop and not view.desired.failed:
            by_slot.pop(view.task.slot, None)
        elif view.status.state.finished or view.desired.failed:
            by_slot.setdefault(view.task.slot, []).append(view)
    return by_slot
