"""What a change concerns."""

from stackd.core.model.analysis import Analysis
from stackd.core.model.decision import Dirty
from stackd.core.model.node import NodeStatus
from stackd.core.model.record import Record, Ref
from stackd.core.model.release import Hold, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.stack import Mode
from stackd.core.model.states import NodeState
from stackd.core.model.task import TaskStatus
from stackd.core.model.toggle import ToggleOverride
from stackd.manager import concerned
from tests.fakes.simulation import Simulation, web


def changed(table: type[Record], key: str) -> Dirty:
    return Dirty(everything=False, refs=frozenset({Ref(table=table.TABLE, key=key)}))


def cluster() -> Simulation:
    sim = Simulation(2)
    everywhere = web(name="agent", mode=Mode.GLOBAL)
    sim.deploy("shop", {"web": (web(), "a"), "db": (web(name="db"), "d")})
    sim.deploy("ops", {"agent": (everywhere, "g")})
    sim.advance(20)
    return sim


def test_services() -> None:
    sim = cluster()
    (task,) = sim.world.tasks_of("shop", "web")
    everything = {"shop/web", "shop/db", "ops/agent"}
    assert concerned.services(sim.world, Dirty()) == everything
    for given, expected in (
        (changed(TaskStatus, task.task.id), {"shop/web"}),
        (changed(TaskStatus, "unknown"), set()),
        (changed(ServiceState, "shop/db"), {"shop/db"}),
        (changed(Hold, "shop/db/d"), {"shop/db"}),
        (changed(Analysis, "shop/db"), {"shop/db"}),
        (changed(Analysis, "shop/db/cart"), {"shop/db"}),
        (changed(Hold, "shop/db/cart/10%"), {"shop/db"}),
        (changed(ToggleState, "shop/db/cart"), {"shop/db"}),
        (changed(ToggleOverride, "shop/db/cart"), {"shop/db"}),
        (changed(Stack, "shop"), {"shop/web", "shop/db"}),
    ):
        assert concerned.services(sim.world, given) == expected


def test_a_node_concerns_its_services_and_every_global_one() -> None:
    sim = cluster()
    here = {f"{v.task.stack}/{v.task.service}" for v in sim.world.tasks_on("n1")}
    assert concerned.services(sim.world, changed(NodeStatus, "n1")) == here | {"ops/agent"}
    sim.node("n9", index=9)
    assert concerned.services(sim.world, changed(NodeStatus, "n9")) == {"ops/agent"}


def test_a_node_that_comes_up_concerns_the_tasks_of_those_that_are_down() -> None:
    sim = cluster()
    sim.set_node("n1", NodeState.DOWN)
    lost = {v.task.id for v in sim.world.tasks_on("n1")}
    assert lost
    assert concerned.tasks(sim.world, changed(NodeStatus, "n9")) == lost
    assert concerned.tasks(sim.world, changed(TaskStatus, "t1")) == {"t1"}
