"""Who of a group waits for whom, and who goes back with whom. `tests/scenarios/groups.txt` shows
whole rollouts."""

import msgspec

from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold, Release
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.rollout import groups
from stackd.core.rollout.common import Barrier
from tests.fakes.simulation import Simulation, web

CANARY = Strategy(kind=StrategyKind.CANARY, group="g")


def moving(sim: Simulation, name: str, step: int, **fields: object) -> Rollout:
    """The service goes from `a` to `b`."""
    base = {"id": name, "target": RevisionId("b"), "source": RevisionId("a"), "release": 1}
    rollout = Rollout(**{**base, "step": step, **fields})  # type: ignore[arg-type]
    sim.write(
        ServiceState(stack="shop", service=name, stable=RevisionId("a"), rollout=rollout),
    )
    return rollout


def declared(**strategies: Strategy) -> tuple[Simulation, Release]:
    """A stack that declares revision `b` of services with these strategies."""
    sim = Simulation(1)
    sim.deploy("shop", {n: (web(name=n, strategy=s), "b") for n, s in strategies.items()})
    release = sim.world.release("shop")
    assert release is not None
    return sim, release


def hold(name: str) -> Hold:
    return Hold(stack="shop", service=name, revision=RevisionId("b"), reason="bad", at=0)


def test_a_group_is_those_of_its_name() -> None:
    other = msgspec.structs.replace(CANARY, group="h")
    _, release = declared(web=CANARY, api=CANARY, db=other, one=Strategy(), two=Strategy())
    assert groups.others(release, "web") == ["api"]
    assert groups.others(release, "db") == []
    assert groups.others(release, "one") == []
    assert groups.others(release, "nosuch") == []


def test_the_last_one_holds_the_others() -> None:
    sim, release = declared(web=CANARY, api=CANARY, db=CANARY)
    moving(sim, "web", 2)
    moving(sim, "api", 3)
    moving(sim, "db", 2)
    assert groups.barrier(sim.world, release, "api") == Barrier(2, "waits for db, web of group g")
    moving(sim, "db", 2, arrived=3)
    assert groups.barrier(sim.world, release, "api") == Barrier(2, "waits for web of group g")
    assert groups.barrier(sim.world, release, "web") == Barrier(3, "waits for api, db of group g")


def test_one_that_has_not_begun_holds_at_the_first_step() -> None:
    sim, release = declared(web=CANARY, api=CANARY)
    moving(sim, "web", 1)
    sim.write(ServiceState(stack="shop", service="api", stable=RevisionId("a")))
    assert groups.barrier(sim.world, release, "web") == Barrier(0, "waits for api of group g")


def test_who_does_not_move_holds_nobody() -> None:
    sim, release = declared(web=CANARY, api=CANARY)
    moving(sim, "web", 1)
    assert groups.barrier(sim.world, release, "web") is None, "it has nothing to go from"
    sim.write(ServiceState(stack="shop", service="api", stable=RevisionId("b")))
    assert groups.barrier(sim.world, release, "web") is None, "it is there"
    moving(sim, "api", 0, phase=RolloutPhase.ROLLING_BACK)
    assert groups.barrier(sim.world, release, "web") is None, "it goes back"
    moving(sim, "api", 0)
    sim.write(hold("api"))
    assert groups.barrier(sim.world, release, "web") is None, "it is refused"


def test_what_is_refused_takes_back_those_that_began_with_it() -> None:
    sim, release = declared(web=CANARY, api=CANARY)
    mine = moving(sim, "web", 1)
    moving(sim, "api", 1, phase=RolloutPhase.ABORTED)
    assert groups.verdict(sim.world, release, "web", mine) == ""
    sim.write(hold("api"))
    assert groups.verdict(sim.world, release, "web", mine) == "api of group g is refused: bad"
    later = msgspec.structs.replace(mine, release=2)
    assert groups.verdict(sim.world, release, "web", later) == ""
    by_hand = msgspec.structs.replace(mine, target=RevisionId("p"))
    assert groups.verdict(sim.world, release, "web", by_hand) == ""
    assert groups.refused_with(sim.world, release, "web", mine) == ["api"]
    assert groups.refused_with(sim.world, release, "web", later) == []


def test_beside_are_those_at_the_same_step() -> None:
    sim, release = declared(web=CANARY, api=CANARY, db=CANARY)
    moving(sim, "web", 1)
    moving(sim, "api", 1)
    moving(sim, "db", 2)
    assert groups.beside(sim.world, release, "web", 1) == ["api"]
    assert groups.beside(sim.world, release, "web", None) == ["api", "db"]
    moving(sim, "api", 1, phase=RolloutPhase.PAUSED)
    assert groups.beside(sim.world, release, "web", 1) == []
