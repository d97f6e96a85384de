"""Phases of services and stacks."""

import msgspec

from stackd.core.model.release import Stack
from stackd.core.model.rollout import Phase
from stackd.core.model.source import RepositoryStatus
from stackd.core.model.stack import RestartCondition, RestartPolicy
from stackd.core.model.states import NodeState
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
