"""Which tasks leave a drained node, at which pace, and which stay there."""

import msgspec

from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.network import VolumeBinding
from stackd.core.model.node import Node, NodeStatus
from stackd.core.model.stack import Constraint, Mode, Placement, ServiceSpec
from stackd.core.model.states import Availability, NodeState, TaskState
from stackd.core.model.strategy import Amount, Strategy, StrategyKind
from stackd.core.model.task import Task, TaskDesired, TaskStatus
from stackd.core.model.world import TaskView, World
from stackd.core.orchestrate import moving
from stackd.core.orchestrate.moving import Wish
from tests.fakes.simulation import web

DRAIN = Availability.DRAIN


def world(**availabilities: Availability) -> World:
    made = World()
    for name in ("n1", "n2", "n3"):
        availability = availabilities.get(name, Availability.ACTIVE)
        made.apply(Node(id=NodeId(name), name=name, availability=availability), 1)
        made.apply(NodeStatus(id=NodeId(name), state=NodeState.READY), 1)
    return made


def task(
    slot: int | str,
    node: str = "n1",
    *,
    ready: bool = True,
    stop: bool = False,
    failing: bool = False,
    tag: str = "",
) -> TaskView:
    key = TaskId(f"t{slot}{node}{tag}")
    made = Task(
        id=key, stack="shop", service="web", slot=str(slot), revision=RevisionId("a"), node=node
    )
    state = TaskState.RUNNING if ready else TaskState.PREPARING
    status = TaskStatus(id=key, state=state, ready=ready, failing=failing)
    return TaskView(made, TaskDesired(id=key, stop=stop), status)


def pace(**fields: object) -> ServiceSpec:
    return web(strategy=Strategy(**fields))  # type: ignore[arg-type]


STOP_FIRST = Strategy(max_surge=Amount(value=0), max_unavailable=Amount(value=1))


def begun(spec: ServiceSpec, *views: TaskView, drained: str = "n1", total: int = 0) -> set[str]:
    found = moving.moves(world(**{drained: DRAIN}), views, spec)
    count = total or len({view.task.slot for view in views})
    return {str(task) for task in moving.begun(found, views, Wish({"a": count}, count), spec)}


def test_only_what_is_on_the_drained_node_moves() -> None:
    views = (task(1), task(2, "n2"), task(3), task(4, stop=True))
    found = moving.moves(world(n1=DRAIN), views, web())
    assert found.paced == {
        "t1n1": "n1 is being drained",
        "t3n1": "n1 is being drained",
    }
    assert found.at_once == {}


def test_a_paused_node_keeps_what_it_has() -> None:
    assert not moving.moves(world(n1=Availability.PAUSE), (task(1),), web()).all


def test_one_at_a_time_by_default() -> None:
    assert begun(web(), task(1), task(2), task(3, "n2")) == {"t1n1"}


def test_the_next_begins_when_the_one_before_has_ended() -> None:
    new = task(1, "n2", ready=False)
    assert begun(web(), task(1), new, task(2), total=2) == {"t1n1"}
    leaving = task(1, stop=True)
    assert begun(web(), leaving, task(1, "n2"), task(2), total=2) == set()
    assert begun(web(), task(1, "n2"), task(2), total=2) == {"t2n1"}


def test_surge_and_parallelism_set_the_pace() -> None:
    views = [task(n) for n in range(1, 6)]
    surge = Amount(value=3)
    assert len(begun(pace(max_surge=surge), *views)) == 3
    assert len(begun(pace(max_surge=Amount(value=50, percent=True)), *views)) == 3
    assert len(begun(pace(max_surge=surge, parallelism=2), *views)) == 2


def test_stop_first_keeps_enough_ready() -> None:
    spec = web(strategy=STOP_FIRST)
    views = [task(1), task(2), task(3, "n2")]
    assert begun(spec, *views) == {"t1n1"}
    assert begun(spec, task(1), task(2), task(3, "n2", ready=False)) == set()
    two = pace(max_surge=Amount(value=0), max_unavailable=Amount(value=2))
    assert begun(two, *views) == {"t1n1", "t2n1"}


def test_a_rollout_that_takes_one_leaves_none_for_the_drain() -> None:
    spec = web(strategy=STOP_FIRST)
    views = (task(1), task(2, "n2"), task(3, "n2"))
    found = moving.moves(world(n1=DRAIN), views, spec)
    assert moving.begun(found, views, Wish({"a": 2, "b": 1}, 3), spec) == set()
    taken = (task(1), task(2, "n2"), task(3, "n2", stop=True))
    assert moving.begun(found, taken, Wish({"a": 2}, 3), spec) == set()


def test_what_does_not_serve_goes_freely_when_it_goes_first() -> None:
    views = [task(1, ready=False), task(2), task(3, "n2")]
    assert begun(web(strategy=STOP_FIRST), *views) == {"t1n1"}


def test_recreate_goes_first() -> None:
    spec = web(strategy=Strategy(kind=StrategyKind.RECREATE))
    assert moving.exclusive(spec)
    assert begun(spec, task(1), task(2)) == {"t1n1"}
    assert moving.exclusive(web(strategy=STOP_FIRST))
    assert not moving.exclusive(web())


def test_a_slot_stays_with_its_volume() -> None:
    made = world(n1=DRAIN)
    binding = VolumeBinding(name="shop_data", node="n1", slots=("shop/web.1",))
    made.apply(binding, 1)
    found = moving.moves(made, (task(1), task(2)), web())
    assert set(found.paced) == {"t2n1"}
    assert moving.stays(made, task(1), web()) == "its volume shop_data is on n1"
    made.apply(msgspec.structs.replace(binding, removing=5.0), 2)
    assert set(moving.moves(made, (task(1),), web()).paced) == {"t1n1"}


def test_nothing_stops_first_when_no_other_node_may_take_it() -> None:
    only = Placement(constraints=(Constraint(key="node.hostname", value="n1"),))
    made = world(n1=DRAIN)
    bound = web(strategy=STOP_FIRST, placement=only)
    assert not moving.moves(made, (task(1),), bound).all
    assert moving.stays(made, task(1), bound) == "no other node may take it"
    assert moving.moves(made, (task(1),), web(placement=only)).paced


def test_a_node_that_fits_no_more_is_left_at_the_same_pace() -> None:
    elsewhere = Placement(constraints=(Constraint(key="node.hostname", value="n2"),))
    spec = web(placement=elsewhere)
    found = moving.moves(world(), (task(1), task(2)), spec)
    assert found.paced == {k: "n1 does not fit any more" for k in ("t1n1", "t2n1")}
    assert len(moving.begun(found, (task(1), task(2)), Wish({"a": 2}, 2), spec)) == 1


def test_global_and_broken_tasks_do_not_wait() -> None:
    found = moving.moves(world(n1=DRAIN), (task("n1"),), web(mode=Mode.GLOBAL))
    assert found.at_once == {"tn1n1": "n1 is being drained"}
    broken = task(1, "n2", failing=True)
    assert set(moving.moves(world(), (broken,), web()).at_once) == {"t1n2"}
    changed = moving.moves(world(), (task(1),), web(mode=Mode.GLOBAL))
    assert changed.at_once == {"t1n1": "the service's mode has changed"}


def test_what_is_on_a_lost_node_does_not_move() -> None:
    made = world(n1=DRAIN)
    made.apply(NodeStatus(id=NodeId("n1"), state=NodeState.DOWN), 2)
    assert not moving.moves(made, (task(1),), web()).all
