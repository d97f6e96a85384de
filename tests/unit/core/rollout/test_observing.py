"""How a service is observed."""

import msgspec

from stackd.core.model.analysis import Analysis, AnalysisState, Run, Verdict
from stackd.core.model.ids import NodeId, RevisionId
from stackd.core.model.node import NodeReport
from stackd.core.model.rollout import ServiceState
from stackd.core.model.stack import RestartCondition, RestartPolicy
from stackd.core.model.states import NodeState
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.model.traffic import Steering, TrafficEntry
from stackd.core.rollout.observing import observe
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web
from tests.unit.core.rollout.cases import rollout, said


def test_available_is_ready_for_the_monitor_time() -> None:
    sim = Simulation(2)
    sim.deploy("shop", {"web": (web(replicas=2), "a")})
    sim.advance(3)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    tally = observe(sim.world, "shop", web(replicas=2), state, "a", sim.now).tally("a")
    assert (tally.live, tally.wanted, tally.ready, tally.available) == (2, 2, 2, 0)
    assert tally.next_available is not None
    later = observe(sim.world, "shop", web(replicas=2), state, "a", tally.next_available)
    assert later.tally("a").available == 2


def test_a_task_that_has_done_its_work_counts_as_in_place() -> None:
    sim = Simulation(1)
    spec = web(restart=RestartPolicy(condition=RestartCondition.ON_FAILURE))
    sim.agents.behaviours["web"] = Behaviour(fail_after=1, exit_code=0)
    sim.deploy("shop", {"web": (spec, "a")})
    sim.advance(30)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.stable == "a"
    assert sim.live("shop", "web") == 0


def test_a_port_that_is_taken_blocks_a_revision_that_is_new() -> None:
    sim = Simulation(1)
    sim.write(NodeReport(id=NodeId("n1"), problems={"shop/web": "Port 80 is held by nginx."}))
    state = ServiceState(stack="shop", service="web", counts={})
    new = observe(sim.world, "shop", web(replicas=0), state, "a", sim.now)
    assert new.blocked == "n1: Port 80 is held by nginx"
    assert not new.complete
    proven = msgspec.structs.replace(state, stable=RevisionId("a"))
    assert observe(sim.world, "shop", web(replicas=0), proven, "a", sim.now).complete
    other = msgspec.structs.replace(state, service="db")
    assert observe(sim.world, "shop", web(replicas=0), other, "a", sim.now).complete


def test_a_new_revision_is_complete_once_every_node_that_is_there_carries_its_traffic() -> None:
    sim = Simulation(3)
    sim.set_node("n3", NodeState.DOWN)
    sim.write(TrafficEntry(stack="shop", service="web"))
    state = ServiceState(stack="shop", service="web", counts={})
    revision = sim.world.rev(TrafficEntry.TABLE, "shop/web")

    def blocked(**applied: int) -> str:
        sim.write(*(NodeReport(id=NodeId(n), applied=r) for n, r in applied.items()))
        return observe(sim.world, "shop", web(replicas=0), state, "a", sim.now).blocked

    assert blocked() == "n1 does not carry its traffic yet"
    assert blocked(n1=revision, n2=revision - 1) == "n2 does not carry its traffic yet"
    assert blocked(n2=revision) == ""


def test_applied_is_what_carries_the_weights_and_the_steering() -> None:
    sim = Simulation(1)
    weights, steering = {"a": 10_000}, Steering(mirror=100, mirrored=RevisionId("b"))
    spec = web(replicas=0, strategy=Strategy(kind=StrategyKind.CANARY))
    state = ServiceState(stack="shop", service="web", weights=weights, steering=steering)

    def applied(**fields: object) -> bool:
        sim.write(TrafficEntry(stack="shop", service="web", **fields))  # type: ignore[arg-type]
        sim.write(NodeReport(id=NodeId("n1"), applied=sim.world.revision))
        return observe(sim.world, "shop", spec, state, "b", sim.now).applied

    assert not applied(weights=weights)
    assert not applied(steering=steering)
    assert applied(weights=weights, steering=steering)


def test_only_answers_to_this_rollout_count() -> None:
    sim = Simulation(1)
    state = ServiceState(stack="shop", service="web", rollout=rollout())
    begun = AnalysisState(canary=RevisionId("b"), stable=RevisionId("a"), started=0)
    answer = said(Verdict.PASS)
    runs = {"step 1": Run(state=begun, judgement=answer), "background": Run(state=begun)}
    for of, expected in (("r0", {}), ("r1", {"step 1": answer})):
        sim.write(Analysis(stack="shop", service="web", rollout=of, runs=runs))
        found = observe(sim.world, "shop", web(), state, "b", sim.now)
        assert found.answers == expected
