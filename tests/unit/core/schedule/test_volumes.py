"""A slot stays where its volume is."""

import msgspec

from stackd.core.model.container import ContainerSpec, Mount, MountKind
from stackd.core.model.network import VolumeBinding
from stackd.core.model.stack import ServiceSpec, VolumeSpec
from stackd.core.model.states import NodeState, TaskState
from stackd.core.model.strategy import Amount, Strategy
from tests.fakes.simulation import Simulation, web

MOUNT = Mount(kind=MountKind.VOLUME, source="data", target="/data")
STOP_FIRST = Strategy(max_surge=Amount(value=0), max_unavailable=Amount(value=1))


def stateful(**fields: object) -> ServiceSpec:
    container = ContainerSpec(image="db", mounts=(MOUNT,))
    return web(container=container, strategy=STOP_FIRST, rollback=STOP_FIRST, **fields)


def nodes_of(sim: Simulation, service: str = "web") -> dict[str, str]:
    return {v.task.slot: v.task.node for v in sim.world.tasks_of("shop", service) if v.live}


def test_a_new_revision_of_a_slot_goes_to_the_same_node() -> None:
    sim = Simulation(3)
    sim.deploy("shop", {"web": (stateful(replicas=2), "a")})
    sim.advance(20)
    before = nodes_of(sim)
    assert len(set(before.values())) == 2
    sim.deploy("shop", {"web": (stateful(replicas=2), "b")})
    sim.advance(60)
    assert nodes_of(sim) == before
    assert {b.name for b in sim.world.all(VolumeBinding)} == {"shop_data"}


def test_another_service_with_the_same_volume_goes_where_it_is() -> None:
    sim = Simulation(3)
    sim.deploy("shop", {"web": (stateful(), "a")})
    sim.advance(20)
    second = stateful(name="copy")
    sim.deploy("shop", {"web": (stateful(), "a"), "copy": (second, "a")})
    sim.advance(20)
    assert nodes_of(sim, "copy") == nodes_of(sim)


def test_while_the_node_is_down_the_task_says_why_it_waits() -> None:
    sim = Simulation(2)
    sim.deploy("shop", {"web": (stateful(), "a")})
    sim.advance(20)
    node = nodes_of(sim)["1"]
    sim.set_node(node, NodeState.DOWN)
    sim.deploy("shop", {"web": (stateful(), "b")})
    sim.advance(100)
    (waiting,) = [
        v for v in sim.world.tasks_of("shop", "web") if v.status.state is TaskState.PENDING
    ]
    text = f"slot 1 stays on {node}, which holds its volume shop_data and is down"
    assert waiting.status.error == text


def test_a_volume_that_is_being_removed_is_waited_for() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (stateful(), "a")})
    sim.advance(20)
    [binding] = sim.world.all(VolumeBinding)
    sim.remove("shop")
    sim.advance(30)
    sim.agents.silent.add(binding.node)
    sim.write(msgspec.structs.replace(binding, removing=sim.now))
    sim.deploy("shop", {"web": (stateful(), "a")})
    sim.advance(5)
    [view] = sim.world.tasks_of("shop", "web")
    assert view.status.state is TaskState.PENDING
    assert "still removing the old volume shop_data" in view.status.error
    sim.agents.silent.clear()
    sim.advance(20)
    assert sim.ready("shop", "web") == 1
    [binding] = sim.world.all(VolumeBinding)
    assert not binding.removing


def test_a_volume_of_another_stack_is_not_owned_by_the_one_that_uses_it() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (stateful(), "a")})
    release = sim.world.release("shop")
    assert release is not None
    volumes = {"data": VolumeSpec(name="common", external=True)}
    spec = msgspec.structs.replace(release.spec, volumes=volumes)
    sim.write(msgspec.structs.replace(release, spec=spec))
    sim.advance(20)
    assert [(b.name, b.stack) for b in sim.world.all(VolumeBinding)] == [("common", "")]
