"""Freezes: what stands, what it says, and how it ends. `tests/scenarios/freeze.txt` shows what it
does to rollouts."""

import pytest

from stackd.core.model.event import Event
from stackd.core.model.release import Freeze, Stack
from stackd.core.rollout import freezing
from stackd.core.rollout.commands import Asked
from stackd.errors import Refused
from tests.fakes.simulation import START, Simulation, web

TIME = "1970-01-12T13:48:20Z"


def asked(sim: Simulation) -> Asked:
    return Asked("ann", sim.now, sim.ids.__next__)


def frozen(stack: str = "shop", until: float = 0) -> Simulation:
    sim = Simulation(1)
    sim.deploy("shop", {"web": (web(), "a")})
    sim.commit(freezing.freeze(sim.world, stack, asked(sim), " the fair ", until))
    return sim


def test_it_says_by_whom_until_when_and_why() -> None:
    [one] = freezing.standing(frozen(until=START + 100).world, "shop", START)
    assert freezing.words(one) == f"frozen by ann until {TIME}: the fair"
    assert freezing.way_out(one) == "End it with: stackd unfreeze shop"
    [one] = freezing.standing(frozen("").world, "shop", START)
    assert freezing.words(one) == "frozen with all stacks by ann: the fair"
    assert freezing.way_out(one) == "End it with: stackd unfreeze"


def test_that_of_all_comes_first_and_concerns_everything() -> None:
    sim = frozen()
    sim.commit(freezing.freeze(sim.world, "", asked(sim), "all quiet"))
    assert [f.reason for f in freezing.standing(sim.world, "shop", sim.now)] == [
        "all quiet",
        "the fair",
    ]
    assert [f.reason for f in freezing.standing(sim.world, "other", sim.now)] == ["all quiet"]
    assert [f.reason for f in freezing.standing(sim.world, "", sim.now)] == ["all quiet"]


def test_what_was_gone_back_to_is_not_held_up() -> None:
    sim = frozen()
    assert freezing.holding(sim.world, "shop", sim.now) is not None
    sim.write(Stack(name="shop", owner="cli", release=1, back=True))
    assert freezing.holding(sim.world, "shop", sim.now) is None


def test_it_ends_at_its_time_and_is_forgotten() -> None:
    sim = frozen(until=START + 100)
    early = freezing.ended(sim.world, START + 99, sim.ids.__next__)
    assert (early.commits, early.wake_at) == ((), START + 100)
    assert freezing.standing(sim.world, "shop", START + 100) == []
    for changes in freezing.ended(sim.world, START + 100, sim.ids.__next__).commits:
        sim.commit(changes)
    assert list(sim.world.all(Freeze)) == []
    told = [(e.kind, e.object, e.text) for e in sim.world.all(Event)]
    assert told[-1] == ("freeze.ended", "shop", f"until {TIME}")


@pytest.mark.parametrize(
    ("reason", "until", "said"),
    [(" ", 0, "needs a reason"), ("why", START, "is past: it is 1970-01-12T13:46:40Z")],
)
def test_no_reason_and_a_time_that_is_past_are_refused(
    reason: str, until: float, said: str
) -> None:
    sim = Simulation(1)
    with pytest.raises(Refused, match=said):
        freezing.freeze(sim.world, "shop", asked(sim), reason, until)


def test_unfreeze_ends_only_what_it_names() -> None:
    sim = frozen("")
    with pytest.raises(Refused, match="shop is not frozen by itself") as refused:
        freezing.unfreeze(sim.world, "shop", asked(sim))
    assert refused.value.remedy == "End it with: stackd unfreeze"
    sim.commit(freezing.unfreeze(sim.world, "", asked(sim)))
    assert freezing.standing(sim.world, "shop", sim.now) == []
    with pytest.raises(Refused, match="All stacks together are not frozen"):
        freezing.unfreeze(sim.world, "", asked(sim))
