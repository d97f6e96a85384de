"""Phases of services and stacks."""

import msgspec

from stackd.core.model.record import Changes
from stackd.core.model.release import Stack
from stackd.core.model.rollout import Phase
from stackd.core.model.source import RepositoryStatus
from stackd.core.model.stack import RestartCondition, RestartPolicy
from stackd.core.model.states import NodeState
from stackd.core.model.strategy import SetWeight, Strategy, StrategyKind
from stackd.core.model.world import World
from stackd.core.rollout.phase import awaiting, behind, service_names, service_phase, stack_phase
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web


def seen(sim: Simulation) -> Phase:
    return service_phase(sim.world, "shop", "web", sim.now)[0]


def test_from_pending_to_healthy() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    assert seen(sim) is Phase.PENDING
    sim.settle()
    assert seen(sim) is Phase.PROGRESSING
    sim.advance(20)
    assert seen(sim) is Phase.HEALTHY
    sim.deploy("shop", {"web": (web(), "b")})
    assert seen(sim) is Phase.PENDING


def test_a_task_that_did_its_work_is_said_to_have_ended_well() -> None:
    sim = Simulation(1)
    restart = RestartPolicy(condition=RestartCondition.ON_FAILURE)
    sim.agents.behaviours["web"] = Behaviour(fail_after=1.0, exit_code=0)
    sim.deploy("shop", {"web": (web(restart=restart), "a")})
    sim.advance(20)
    found = service_phase(sim.world, "shop", "web", sim.now)
    assert found == (Phase.HEALTHY, "0 of 1 tasks are ready, 1 ended well")


def test_degraded_when_fewer_are_ready_than_wanted() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(replicas=2), "a")})
    sim.advance(20)
    sim.set_node("n1", NodeState.DOWN)
    phase, reason = service_phase(sim.world, "shop", "web", sim.now)
    assert phase is Phase.DEGRADED
    assert reason == "0 of 2 tasks are ready; web.1: its node is down"


class Watched(Simulation):
    """Hears what is said of `web` after each commit."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__(1)

    def commit(self, changes: Changes) -> None:
        super().commit(changes)
        self.said.append(service_phase(self.world, "shop", "web", self.now)[1])


def test_tasks_that_have_yet_to_be_asked_to_go_do_not_count() -> None:
    sim = Watched()
    canary = Strategy(
        kind=StrategyKind.CANARY, steps=(SetWeight(weight=5_000),), scale_down_delay=0.0
    )
    for revision in ("a", "b"):
        sim.deploy("shop", {"web": (web(replicas=2, strategy=canary), revision)})
        sim.advance(30)
    said = {text for text in sim.said if "tasks are ready" in text}
    assert said == {"2 of 2 tasks are ready"}
    assert {view.task.revision for view in sim.world.tasks_of("shop", "web") if view.live} == {"b"}


def test_a_stack_has_the_worst_phase_of_its_services() -> None:
    sim = Simulation(1)
    good, bad = web(name="good"), web(name="bad")
    sim.deploy("shop", {"good": (good, "a"), "bad": (bad, "a")})
    sim.advance(20)
    sim.agents.behaviours["bad@b"] = Behaviour(fail_after=0.1)
    sim.deploy("shop", {"good": (good, "a"), "bad": (bad, "b")})
    sim.advance(20)
    phase, reason = stack_phase(sim.world, "shop", sim.now)
    assert phase is Phase.ABORTED
    assert reason.startswith("bad: running a; b refused: 1 task of revision b failed")
    assert service_names(sim.world, "shop") == ["bad", "good"]


def test_a_stack_that_is_being_removed_says_how_much_is_left() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(replicas=2), "a")})
    sim.advance(20)
    sim.remove("shop")
    found = stack_phase(sim.world, "shop", sim.now)
    assert found == (Phase.PROGRESSING, "it is being removed: 2 tasks left")


def test_why_a_stack_does_not_run_what_is_declared() -> None:
    head = Stack(name="shop", owner="repo:ops", release=1, seen_commit="c" * 40)
    assert behind(head) == ""
    refused = msgspec.structs.replace(head, problem="a.yml:1:2: bad")
    assert behind(refused) == f"commit {'c' * 12} is not deployed: a.yml:1:2: bad"
    by_hand = msgspec.structs.replace(head, override="ann")
    assert behind(by_hand) == "it was deployed by hand by ann"


def test_a_repository_that_waits_for_a_person_is_told_of_its_stacks() -> None:
    world = World()
    mine = Stack(name="shop", owner="repo:ops", release=1)
    assert awaiting(world, mine) == ""
    status = RepositoryStatus(name="ops", waiting="c" * 40, plan="0123")
    world.apply(status, 1)
    told = f"commit {'c' * 12} waits for approval: stackd approve ops 0123"
    assert awaiting(world, mine) == told
    assert awaiting(world, msgspec.structs.replace(mine, owner="cli")) == ""
    world.apply(msgspec.structs.replace(status, approved="c" * 40), 2)
    assert awaiting(world, mine) == ""
