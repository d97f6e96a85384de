"""A stack goes back to a release kept before."""

import dataclasses

import pytest

from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.strategy import Pause, SetWeight, Strategy, StrategyKind
from stackd.core.rollout import commands
from stackd.core.rollout.goback import rollback_stack
from stackd.errors import Refused
from tests.fakes.simulation import web
from tests.unit.core.rollout.cases import renewed, settled


def test_a_stack_goes_back_only_to_a_release_that_is_kept() -> None:
    sim, asked = settled()
    with pytest.raises(Refused, match="an earlier one that differs"):
        rollback_stack(sim.world, "shop", asked)
    with pytest.raises(Refused, match="release 7"):
        rollback_stack(sim.world, "shop", asked, 7)


def test_a_release_that_cannot_come_back_as_it_was_comes_back_as_a_new_one() -> None:
    sim, asked = settled()
    asked = dataclasses.replace(asked, renew=renewed)
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(40)
    sim.commit(rollback_stack(sim.world, "shop", asked, 1))
    now = sim.world.release("shop")
    assert now is not None
    assert (now.number, now.services["web"].revision) == (3, "a2")
    first = sim.world.release("shop", 1)
    assert first is not None
    assert first.services["web"].revision == "a"
    sim.advance(40)
    assert {v.task.revision for v in sim.world.tasks_of("shop", "web") if v.live} == {"a2"}


def test_it_goes_in_one_step_also_past_a_revoked_secret() -> None:
    sim, asked = settled()
    asked = dataclasses.replace(asked, renew=renewed)
    careful = Strategy(kind=StrategyKind.CANARY, steps=(SetWeight(weight=5000), Pause(seconds=0)))
    sim.deploy("shop", {"web": (web(strategy=careful), "a")})
    sim.advance(10)
    sim.deploy("shop", {"web": (web(strategy=careful), "b")})
    sim.advance(40)
    sim.commit(commands.promote(sim.world, "shop", "web", asked, full=True))
    sim.advance(40)
    sim.commit(rollback_stack(sim.world, "shop", dataclasses.replace(asked, now=sim.now), 2))
    sim.advance(40)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert (state.stable, state.rollout and state.rollout.phase) == ("a2", RolloutPhase.COMPLETE)
