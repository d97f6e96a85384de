"""Toggles with stages: what begins, what acts at once, what is forgotten; `tests/scenarios` has the
stories."""

from stackd.core.model.analysis import Analysis, AnalysisPolicy
from stackd.core.model.record import ref
from stackd.core.model.release import Hold
from stackd.core.model.rollout import Phase, ToggleState
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.strategy import Pause, SetWeight, Strategy, StrategyKind
from stackd.core.model.toggle import Toggle, ToggleOverride
from stackd.core.model.traffic import TrafficEntry
from stackd.core.rollout import commands, places
from stackd.core.rollout.phase import service_phase
from stackd.core.rollout.refused import _introducing
from tests.fakes.simulation import Simulation, web

KEY = "shop/web/cart"


def flagged(share: int, *, staged: bool = True) -> ServiceSpec:
    steps = (SetWeight(weight=min(100, share)), Pause(), SetWeight(weight=share))
    policy = Strategy(kind=StrategyKind.STAGED, steps=steps, analysis=AnalysisPolicy())
    stages = {"cart": policy} if staged else {}
    return web(features={"cart": Toggle(share=share)}, stages=stages)


def deployed(share: int = 0, *, staged: bool = True) -> Simulation:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (flagged(share, staged=staged), "a")})
    sim.advance(20)
    return sim


def state(sim: Simulation) -> ToggleState:
    found = sim.world.get(ToggleState, KEY)
    assert found is not None
    return found


def given(sim: Simulation) -> int:
    entry = sim.world.get(TrafficEntry, "shop/web")
    assert entry is not None
    return entry.features["cart"].share


def test_the_first_rollout_of_a_service_has_it_as_declared() -> None:
    sim = deployed(10_000)
    assert (given(sim), state(sim).rollout) == (10_000, None)
    assert not [e for e in sim.events() if e.object == KEY]


def test_a_toggle_that_gets_stages_starts_from_what_it_has() -> None:
    sim = deployed(500, staged=False)
    assert sim.world.get(ToggleState, KEY) is None
    sim.deploy("shop", {"web": (flagged(10_000), "a")})
    sim.advance(5)
    assert (given(sim), state(sim).former, state(sim).stable) == (500, 500, "5%")
    assert state(sim).rollout is not None


def test_a_new_toggle_of_a_service_that_runs_is_staged() -> None:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.advance(20)
    sim.deploy("shop", {"web": (flagged(10_000), "a")})
    sim.advance(5)
    assert given(sim) == 100
    entry = sim.world.get(TrafficEntry, "shop/web")
    assert entry is not None
    assert entry.measured, "its analysis looks at requests"


def test_without_stages_it_has_its_share_and_nothing_is_kept() -> None:
    sim = deployed()
    sim.deploy("shop", {"web": (flagged(10_000), "a")})
    sim.advance(5)
    sim.write(Analysis(stack="shop", service="web/cart", rollout="r"))
    asked = commands.Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(commands.abort(sim.world, "shop", "web/cart", asked))
    sim.advance(5)
    assert sim.world.get(Hold, f"{KEY}/100%") is not None
    sim.deploy("shop", {"web": (flagged(10_000, staged=False), "a")})
    sim.advance(5)
    assert given(sim) == 10_000
    left = [p for p in sim.world.places() if p.key.startswith(KEY)]
    assert left == []


def test_a_share_set_by_hand_is_given_whatever_the_steps_do() -> None:
    sim = deployed()
    sim.deploy("shop", {"web": (flagged(10_000), "a")})
    sim.advance(5)
    by_hand = ToggleOverride(
        stack="shop", service="web", feature="cart", share=0, declared=10_000, by="ann", at=sim.now
    )
    sim.write(by_hand)
    sim.advance(5)
    assert (given(sim), state(sim).share) == (0, 100)
    assert service_phase(sim.world, "shop", "web", sim.now)[0] is Phase.PAUSED
    sim.deploy("shop", {"web": (flagged(5_000), "a")})
    sim.advance(5)
    assert sim.world.rev(ToggleOverride.TABLE, by_hand.key) == 0, "another share ends it"
    assert given(sim) == 100


def test_the_release_that_declared_a_refused_share_is_known() -> None:
    sim = deployed()
    number = sim.deploy("shop", {"web": (flagged(10_000), "a")})
    sim.advance(5)
    asked = commands.Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(commands.abort(sim.world, "shop", "web/cart", asked))
    sim.advance(5)
    hold = sim.world.get(Hold, f"{KEY}/100%")
    assert hold is not None
    found = _introducing(sim.world, hold)
    assert found is not None
    assert found.number == number


def test_what_a_name_stands_for() -> None:
    sim = deployed()
    release = sim.world.release("shop")
    assert places.toggles(sim.world, "shop", "web") == ["web/cart"]
    assert places.declared(release, "web/other") is None
    assert places.declared(None, "web") is None
    found = places.declared(release, "web/cart")
    assert found is not None
    assert (found.revision, found.spec.strategy.kind) == ("0%", StrategyKind.STAGED)
    assert places.state_of(sim.world, KEY) == state(sim)
    assert places.state_of(sim.world, "shop/web") is not None
    assert ref(ToggleState, KEY).table == "feature_states"


def test_removing_the_stack_leaves_nothing_of_it() -> None:
    sim = deployed()
    sim.remove("shop")
    sim.advance(30)
    assert [p for p in sim.world.places() if p.key.startswith("shop/")] == []
