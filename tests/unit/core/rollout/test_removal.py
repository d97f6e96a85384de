"""What goes when nothing declares it any more."""

import msgspec

from stackd.core.model.analysis import Analysis
from stackd.core.model.network import VolumeBinding
from stackd.core.model.release import Stack
from stackd.core.model.states import NodeState
from stackd.core.rollout import removal
from tests.fakes.simulation import Simulation, web


def test_volumes_stay_unless_asked_for() -> None:
    for purge in (False, True):
        sim = Simulation(1)
        sim.deploy("shop", {"web": (web(), "a")})
        sim.write(VolumeBinding(name="shop_data", node="n1", stack="shop"))
        head = sim.world.get(Stack, "shop")
        assert head is not None
        sim.write(msgspec.structs.replace(head, remove_volumes=purge))
        sim.advance(10)
        sim.remove("shop")
        sim.advance(10)
        assert sim.world.get(Stack, "shop") is None
        assert sim.world.count(VolumeBinding) == (0 if purge else 1)


def test_a_node_that_is_down_removes_the_volumes_later() -> None:
    sim = Simulation(2)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.write(VolumeBinding(name="shop_data", node="n2", stack="shop"))
    sim.advance(10)
    sim.agents.silent.add("n2")
    sim.set_node("n2", state=NodeState.DOWN)
    head = sim.world.get(Stack, "shop")
    assert head is not None
    sim.write(msgspec.structs.replace(head, remove_volumes=True))
    sim.remove("shop")
    sim.advance(60)
    assert sim.world.get(Stack, "shop") is None
    assert [bool(b.removing) for b in sim.world.all(VolumeBinding)] == [True]
    sim.agents.silent.clear()
    sim.set_node("n2", state=NodeState.READY)
    sim.advance(10)
    assert sim.world.count(VolumeBinding) == 0


def test_a_stack_that_is_not_being_removed_is_left_alone() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    assert removal.stack(sim.world, "shop", sim.now, sim.ids.__next__).commits == ()


def test_what_analyses_have_said_goes_with_the_service() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a"), "db": (web(name="db"), "a")})
    sim.advance(10)
    for name in ("web", "db"):
        sim.write(Analysis(stack="shop", service=name, rollout="r1"))
    sim.deploy("shop", {"db": (web(name="db"), "a")})
    sim.advance(20)
    assert [found.key for found in sim.world.all(Analysis)] == ["shop/db"]
    sim.remove("shop")
    sim.advance(20)
    assert sim.world.count(Analysis) == 0
