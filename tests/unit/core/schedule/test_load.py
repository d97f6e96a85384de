"""What nodes carry."""

from stackd.core.model.container import Resources
from stackd.core.schedule.load import Like, Load, Loads
from tests.fakes.simulation import Simulation, web


def test_live_tasks_are_counted_by_service_and_slot() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(replicas=3), "a"), "db": (web(name="db"), "d")})
    sim.advance(20)
    load = Loads().get(sim.world, "n1")
    assert (load.tasks, load.of("shop/web"), load.of("shop/db"), load.of("x/y")) == (4, 3, 1, 0)
    assert load.other_slots("shop/web", "2") == 2


def test_a_load_is_counted_again_when_told() -> None:
    sim = Simulation(1)
    loads = Loads()
    loads.get(sim.world, "n1").add(Like("shop/web", "a"), "1", Resources())
    assert loads.get(sim.world, "n1").tasks == 1
    loads.forget("n1")
    assert loads.get(sim.world, "n1") == Load()
