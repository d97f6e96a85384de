"""What a node that is drained still has, and what is in the way."""

from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport
from stackd.core.model.stack import Constraint, Mode, Placement
from stackd.core.model.states import Availability, Leaving, NodeState
from stackd.core.model.strategy import Amount, Strategy
from stackd.core.model.task import TaskDesired
from stackd.core.orchestrate import evacuation
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web

DRAIN = Availability.DRAIN
STOP_FIRST = Strategy(max_surge=Amount(value=0), max_unavailable=Amount(value=1))


def left(sim: Simulation, node: str = "n1") -> list[tuple[str, str, bool]]:
    return [(r.name, r.text, r.stuck) for r in evacuation.remaining(sim.world, node)]


def deployed(**fields: object) -> Simulation:
    sim = Simulation(2)
    sim.deploy("shop", {"web": (web(**fields), "a")})
    sim.advance(20)
    return sim


def test_each_waits_for_its_turn_and_for_its_replacement() -> None:
    sim = deployed(replicas=4)
    sim.agents.behaviours["web"] = Behaviour(start=5)
    sim.set_node("n1", availability=DRAIN)
    sim.advance(1)
    texts = [text for _, text, _ in left(sim)]
    assert texts == ["its replacement is starting", "its turn has not come"]
    assert evacuation.summary(evacuation.remaining(sim.world, "n1")).startswith("2 tasks are left")
    sim.advance(30)
    assert left(sim) == []
    assert evacuation.summary([]) == "nothing is left on it"


def test_what_is_in_flight_is_summed_over_all_nodes() -> None:
    sim = deployed(replicas=1)
    [view] = sim.world.tasks_of("shop", "web")
    node = view.task.node
    leaving = TaskDesired(id=view.task.id, stop=True, leaving=Leaving.DRAINING)
    sim.world.apply(leaving, 1)
    for name, count in (("n1", 2), ("n2", 3)):
        sim.world.apply(NodeReport(id=NodeId(name), in_flight={view.task.id: count}), 1)
    assert left(sim, node) == [("shop/web.1", "it is draining, 5 in flight", False)]


def test_no_room_elsewhere_is_told() -> None:
    sim = deployed(replicas=2, placement=Placement(max_replicas_per_node=1))
    sim.set_node("n1", availability=DRAIN)
    sim.advance(5)
    [(_, text, stuck)] = left(sim)
    assert text.startswith("its replacement is pending: no node has room: 1 being drained")
    assert not stuck


def test_what_no_other_node_may_take_is_stuck() -> None:
    only = Placement(constraints=(Constraint(key="node.hostname", value="n1"),))
    sim = deployed(replicas=1, strategy=STOP_FIRST, placement=only)
    sim.set_node("n1", availability=DRAIN)
    sim.advance(5)
    assert left(sim) == [("shop/web.1", "no other node may take it", True)]


def test_a_global_task_ends_and_is_named_by_its_node() -> None:
    sim = deployed(mode=Mode.GLOBAL, strategy=STOP_FIRST)
    sim.set_node("n1", availability=DRAIN)
    sim.settle()
    assert left(sim) == [("shop/web.n1", "it is stopping", False)]
    sim.advance(2)
    assert left(sim) == []


def test_a_node_that_is_down_says_so() -> None:
    sim = deployed(mode=Mode.GLOBAL, strategy=STOP_FIRST)
    sim.set_node("n1", availability=DRAIN, state=NodeState.DOWN)
    sim.settle()
    assert left(sim) == [("shop/web.n1", "its node is down", False)]
