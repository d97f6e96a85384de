"""A cluster whose pool has changed."""

import msgspec

from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.network import addressing, renumber
from stackd.core.network.ipam import Pool
from tests.fakes.simulation import Simulation
from tests.unit.core.network.test_allocate import named, networked

BEFORE = "10.192.0.0/22"
"""A subnet of another pool than the one that clusters of simulations have."""


def resumed() -> Simulation:
    """shop/web in a network of a former pool, and in one whose subnet it names."""
    sim = Simulation(1)
    both = named("default") | named("fixed", subnet="192.168.7.0/24")
    sim.deploy("shop", {"web": (networked("default", "fixed"), "a")}, networks=both)
    sim.advance(20)
    sim.write(msgspec.structs.replace(networks(sim)["shop_default"], subnet=BEFORE))
    return sim


def networks(sim: Simulation) -> dict[str, Network]:
    return {network.name: network for network in sim.world.all(Network)}


def renumbered(sim: Simulation) -> int:
    decision = renumber.decide(sim.world, Pool(), sim.now, sim.ids.__next__)
    for changes in decision.commits:
        sim.commit(changes)
    return len(decision.commits)


def test_a_network_outside_the_pool_is_made_again_in_it_and_tasks_get_addresses_there() -> None:
    sim = resumed()
    before = networks(sim)
    assert renumbered(sim) == 1
    sim.reboot("n1")  # everything had been stopped when the pool changed
    sim.advance(60)
    after = networks(sim)
    assert after["shop_fixed"].id == before["shop_fixed"].id
    assert addressing.within(after["shop_default"].subnet, Pool().base)
    assert after["shop_default"].id != before["shop_default"].id
    entry = sim.world.get(ServiceAddresses, "shop/web")
    assert entry is not None
    assert set(entry.vips) == {network.id for network in after.values()}
    assert sim.ready("shop", "web") == 1
    (view,) = (v for v in sim.world.tasks_of("shop", "web") if v.live)
    assert set(view.task.addresses) == set(entry.vips)
    assert [e.object for e in sim.events() if e.kind == "network.removed"] == ["shop_default"]


def test_nothing_changes_while_all_are_in_the_pool() -> None:
    sim = resumed()
    renumbered(sim)
    sim.advance(5)
    assert renumbered(sim) == 0
