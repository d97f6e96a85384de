"""Networks, virtual addresses and task addresses for what is declared."""

import sys
from types import FrameType

import msgspec

from stackd.core.model.container import Attachment, ContainerSpec
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.release import Revision
from stackd.core.model.stack import NetworkSpec, Port, ServiceSpec
from stackd.core.model.states import TaskState
from stackd.core.network import allocate, ipam
from tests.fakes.simulation import Simulation, web


def networked(*names: str, **fields: object) -> ServiceSpec:
    attachments = tuple(Attachment(network=name) for name in names)
    return web(container=ContainerSpec(image="web", networks=attachments), **fields)


def named(name: str, **fields: object) -> dict[str, NetworkSpec]:
    return {name: NetworkSpec(name=f"shop_{name}", **fields)}  # type: ignore[arg-type]


def test_every_task_and_service_gets_an_address_in_each_network() -> None:
    sim = Simulation(2)
    spec = networked("default", replicas=3, ports=(Port(target=80),))
    sim.deploy("shop", {"web": (spec, "a")}, networks=named("default"))
    sim.advance(20)
    (network,) = sim.world.all(Network)
    entry = sim.world.get(ServiceAddresses, "shop/web")
    assert entry is not None
    assert entry.ports == {"80/tcp": 30000}
    addresses = [v.task.addresses[network.id] for v in sim.world.tasks_of("shop", "web")]
    assert len({*addresses, entry.vips[network.id]}) == 4
    assert ipam.free(network, sim.world) == ipam.capacity(network) - 4


def test_a_full_network_says_so_on_the_task() -> None:
    sim = Simulation(2)
    spec = networked("default", replicas=40)
    small = named("default", subnet="10.9.0.0/26")
    sim.deploy("shop", {"web": (spec, "a")}, networks=small)
    sim.advance(5)
    waiting = [v for v in sim.world.tasks_of("shop", "web") if v.status.state is TaskState.NEW]
    assert len(waiting) == 10
    text = "network shop_default has no free address: 31 of 31 in use"
    assert {v.status.error for v in waiting} == {text}


def test_a_full_network_is_searched_once_in_a_pass() -> None:
    """Each search looks at every address: thousands of waiting tasks would hold up the manager."""
    sim = Simulation(2)
    spec = networked("default", replicas=200)
    sim.deploy("shop", {"web": (spec, "a")}, networks=named("default", subnet="10.9.0.0/26"))
    sim.advance(5)
    tasks = [view.task.id for view in sim.world.tasks_of("shop", "web")]
    searched = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal searched
        searched += event == "call" and frame.f_code is ipam.take.__code__

    sys.setprofile(count)
    try:
        decision = allocate.decide(
            sim.world, ["shop"], tasks, 10, iter("abc").__next__, allocate.Settings("c")
        )
    finally:
        sys.setprofile(None)
    assert decision.commits == ()
    assert searched == 1


def test_a_network_that_cannot_be_made_says_so_on_the_task() -> None:
    sim = Simulation(1)
    spec = {"far": NetworkSpec(name="far", external=True)}
    sim.deploy("shop", {"web": (networked("far"), "a")}, networks=spec)
    sim.advance(5)
    (view,) = sim.world.tasks_of("shop", "web")
    assert view.status.error == "network far is external and does not exist"


def test_a_revision_that_is_not_there_is_said_on_the_task() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (networked(), "a")})
    for revision in list(sim.world.all(Revision)):
        sim.world.remove(Revision.TABLE, revision.key)
    sim.advance(5)
    (view,) = sim.world.tasks_of("shop", "web")
    assert view.status.state is TaskState.NEW
    assert view.status.error == f"revision {view.task.revision} is not stored"


def test_networks_of_two_stacks_do_not_overlap() -> None:
    sim = Simulation(1)
    for stack in ("shop", "blog"):
        spec = {"default": NetworkSpec(name=f"{stack}_default")}
        sim.deploy(stack, {"web": (networked("default"), "a")}, networks=spec)
    sim.advance(10)
    first, second = sim.world.all(Network)
    assert first.subnet != second.subnet
    assert first.vni != second.vni


def test_a_network_goes_when_nothing_uses_it_any_more() -> None:
    sim = Simulation(1)
    both = named("default") | named("back")
    sim.deploy("shop", {"web": (networked("default", "back"), "a")}, networks=both)
    sim.advance(20)
    assert sim.world.count(Network) == 2
    sim.deploy("shop", {"web": (networked("default"), "b")}, networks=named("default"))
    sim.advance(3)
    assert sim.world.count(Network) == 2
    sim.advance(20)
    assert [n.name for n in sim.world.all(Network)] == ["shop_default"]


def test_an_option_of_a_network_changes_in_place() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (networked("default"), "a")}, networks=named("default"))
    sim.advance(20)
    (before,) = sim.world.all(Network)
    sim.deploy(
        "shop", {"web": (networked("default"), "a")}, networks=named("default", internal=True)
    )
    sim.advance(5)
    (after,) = sim.world.all(Network)
    assert after == msgspec.structs.replace(before, internal=True)
