"""Slots of a global service."""

from stackd.core.model.stack import Constraint, Mode, Placement
from stackd.core.model.states import Availability, NodeState
from stackd.core.orchestrate import global_
from tests.fakes.simulation import Simulation, web


def test_it_runs_on_open_nodes_that_fit() -> None:
    sim = Simulation(3)
    rule = Constraint(key="node.hostname", value="N1", equal=False)
    spec = web(mode=Mode.GLOBAL, placement=Placement(constraints=(rule,)))
    sim.deploy("shop", {"web": (spec, "a")})
    assert global_.slots(sim.world, "shop", spec) == ["n2", "n3"]
    sim.advance(10)
    sim.set_node("n2", availability=Availability.PAUSE)
    assert global_.slots(sim.world, "shop", spec) == ["n3"]
    sim.set_node("n2", availability=Availability.DRAIN)
    sim.set_node("n3", NodeState.DOWN)
    assert global_.slots(sim.world, "shop", spec) == []
