"""What a service depends on."""

from stackd.core.model.stack import DependsOn
from stackd.core.rollout.depends import gate
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web


def reason(sim: Simulation, condition: DependsOn) -> tuple[str, bool]:
    release = sim.world.release("shop")
    assert release is not None
    found = gate(sim.world, release, web(depends_on={"db": condition}), sim.now)
    return (found.reason, found.failed) if found else ("", False)


def test_started_and_healthy() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"db": (web(name="db"), "d1")})
    assert reason(sim, DependsOn.STARTED) == ("waits for db, which has not started", False)
    sim.settle()
    assert reason(sim, DependsOn.STARTED)[0] == "waits for db to be started: 0 of 1 run"
    sim.advance(2)
    assert reason(sim, DependsOn.STARTED) == ("", False)
    assert "0 of 1 tasks updated" in reason(sim, DependsOn.HEALTHY)[0]
    sim.advance(10)
    assert reason(sim, DependsOn.HEALTHY) == ("", False)


def test_a_dependency_that_failed_says_so() -> None:
    sim = Simulation(1)
    sim.agents.behaviours["db"] = Behaviour(fail_after=0.1)
    sim.deploy("shop", {"db": (web(name="db"), "d1")})
    sim.advance(2)
    text, failed = reason(sim, DependsOn.STARTED)
    assert failed
    assert "whose rollout failed: 1 task of revision d1 failed: exit code 1" in text
