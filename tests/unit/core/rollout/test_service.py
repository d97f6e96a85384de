"""One look at a service."""

import msgspec

from stackd.core.model.analysis import Analysis, AnalysisPolicy, AnalysisState, Run, Verdict
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Put
from stackd.core.model.release import Hold, Override
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.stack import DependsOn
from stackd.core.model.strategy import (
    Analyse,
    Matcher,
    OnFailure,
    SetMatch,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.toggle import Toggle, ToggleOverride
from stackd.core.model.traffic import Steering, TrafficEntry
from stackd.core.rollout import service
from tests.fakes.agent import Behaviour
from tests.fakes.simulation import Simulation, web
from tests.unit.core.rollout.cases import said


def state(sim: Simulation) -> ServiceState:
    found = sim.world.get(ServiceState, "shop/web")
    assert found is not None
    return found


def test_a_second_look_at_the_same_writes_nothing() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(20)
    again = service.decide(sim.world, "shop", "web", sim.now, sim.ids.__next__)
    assert again.commits == ()


def test_the_first_look_starts_a_rollout_with_an_event_as_its_cause() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(replicas=2), "a")})
    (commit,) = service.decide(sim.world, "shop", "web", sim.now, sim.ids.__next__).commits
    records = [c.record for c in commit.changes if isinstance(c, Put)]
    found = next(r for r in records if isinstance(r, ServiceState))
    assert found.rollout is not None
    assert found.rollout.cause in {r.key for r in records}
    assert found.counts == {"a": 2}


def test_completed_revisions_are_proven_newest_first() -> None:
    sim = Simulation(1)
    for revision in ("a", "b", "a"):
        sim.deploy("shop", {"web": (web(), revision)})
        sim.advance(20)
    assert state(sim).proven == (RevisionId("a"), RevisionId("b"))


def test_an_override_ends_when_the_declared_value_changes() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(replicas=1), "a")})
    sim.write(Override(stack="shop", service="web", replicas=2, declared=1, by="ann", at=0))
    sim.advance(10)
    assert state(sim).counts == {"a": 2}
    sim.deploy("shop", {"web": (web(replicas=3), "a")})
    sim.advance(10)
    assert state(sim).counts == {"a": 3}
    assert sim.world.get(Override, "shop/web") is None


def test_a_held_revision_is_not_rolled_out() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(20)
    sim.write(Hold(stack="shop", service="web", revision=RevisionId("b"), reason="bad", at=sim.now))
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(20)
    assert state(sim).counts == {"a": 1}
    rollout = state(sim).rollout
    assert rollout is not None
    assert rollout.phase is RolloutPhase.COMPLETE


STEPPED = Strategy(
    kind=StrategyKind.CANARY,
    steps=(
        SetWeight(weight=500),
        SetMatch(any_of=(Matcher(header="x-group", exact="b"),)),
        SetWeight(weight=5_000),
        Analyse(policy=AnalysisPolicy()),
    ),
    on_failure=OnFailure.STEP_BACK,
)


def test_after_a_failure_the_smaller_weight_is_in_the_same_write() -> None:
    sim = Simulation(1)
    for revision in ("a", "b"):
        sim.deploy("shop", {"web": (web(replicas=2, strategy=STEPPED), revision)})
        sim.advance(20)
    before = state(sim)
    assert before.weights == {"a": 5_000, "b": 5_000}
    assert before.rollout is not None
    begun = AnalysisState(canary=RevisionId("b"), stable=RevisionId("a"), started=0)
    runs = {"step 4": Run(state=begun, judgement=said(Verdict.FAIL))}
    sim.world.apply(
        Analysis(stack="shop", service="web", rollout=before.rollout.id, runs=runs), 1_000
    )
    found = service.decide(sim.world, "shop", "web", sim.now, sim.ids.__next__)
    [written] = [
        change.record
        for change in found.commits[0].changes
        if isinstance(change, Put) and isinstance(change.record, ServiceState)
    ]
    assert isinstance(written, ServiceState)
    assert (written.weights, written.steering) == ({"a": 9_500, "b": 500}, Steering())


def test_what_was_superseded_gets_nothing_while_the_next_waits() -> None:
    sim = Simulation(1)
    needs = {"db": DependsOn.HEALTHY}
    for revision in ("a", "b"):
        spec = web(replicas=1, strategy=STEPPED, depends_on=needs)
        sim.deploy("shop", {"web": (spec, revision), "db": (web(name="db"), "a")})
        sim.advance(20)
    assert state(sim).steering.matched == "b"
    sim.agents.behaviours["db@b"] = Behaviour(start=float("inf"))
    sim.deploy("shop", {"web": (spec, "c"), "db": (web(name="db"), "b")})
    sim.advance(10)
    found = state(sim)
    assert found.rollout is not None
    assert found.rollout.phase is RolloutPhase.WAITING
    assert (found.weights, found.steering) == ({"a": 10_000}, Steering())


def test_a_toggle_set_by_hand_ends_with_its_declared_share_and_with_the_service() -> None:
    sim = Simulation(1)
    features = {"cart": Toggle(share=1_000), "dark": Toggle()}
    sim.deploy("shop", {"web": (web(features=features), "a"), "db": (web(name="db"), "a")})
    sim.advance(20)
    cart = ToggleOverride(
        stack="shop", service="web", feature="cart", share=5_000, declared=1_000, by="ann", at=0
    )
    dark = msgspec.structs.replace(cart, feature="dark", share=10_000, declared=0)
    sim.write(cart, dark)
    sim.advance(1)
    assert sim.world.count(ToggleOverride) == 2
    changed = {**features, "cart": Toggle(share=2_000)}
    sim.deploy("shop", {"web": (web(features=changed), "a"), "db": (web(name="db"), "a")})
    sim.advance(20)
    assert [o.feature for o in sim.world.all(ToggleOverride)] == ["dark"]
    entry = sim.world.get(TrafficEntry, "shop/web")
    assert entry is not None
    assert {name: f.share for name, f in entry.features.items()} == {"cart": 2_000, "dark": 10_000}
    assert state(sim).rollout is not None
    assert sim.live("shop", "web") == 1, "no task was replaced"
    assert [e.kind for e in sim.events() if e.object == "shop/web.1"] == ["task.created"]
    sim.deploy("shop", {"db": (web(name="db"), "a")})
    sim.advance(20)
    assert sim.world.count(ToggleOverride) == 0
