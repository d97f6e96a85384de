"""Slots of a replicated service."""

from stackd.core.model.release import Override
from stackd.core.orchestrate import replicated
from tests.fakes.simulation import Simulation, web


def test_slots_are_numbers_from_one_as_declared_or_by_hand() -> None:
    sim = Simulation(1)
    spec = web(replicas=3)
    sim.deploy("shop", {"web": (spec, "a")})
    assert replicated.slots(sim.world, "shop", spec) == ["1", "2", "3"]
    sim.write(Override(stack="shop", service="web", replicas=1, declared=3, by="ann", at=0))
    assert replicated.slots(sim.world, "shop", spec) == ["1"]
    sim.write(Override(stack="shop", service="web", replicas=9, declared=2, by="ann", at=0))
    assert replicated.slots(sim.world, "shop", spec) == ["1", "2", "3"]


def test_slots_sort_as_numbers() -> None:
    assert sorted(["10", "9", "1"], key=replicated.order) == ["1", "9", "10"]
