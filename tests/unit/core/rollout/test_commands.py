"""What people may ask, and when it is refused."""

import dataclasses
from collections.abc import Callable

import pytest

from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    AnalysisState,
    Run,
    Verdict,
)
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Changes
from stackd.core.model.release import Hold
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.strategy import Analyse, OnFailure, Pause, SetWeight, Strategy, StrategyKind
from stackd.core.model.world import World
from stackd.core.rollout import commands
from stackd.core.rollout.commands import Asked
from stackd.errors import Refused, Stale
from tests.fakes.simulation import Simulation, web
from tests.unit.core.rollout.cases import renewed, said, settled


def phase(sim: Simulation) -> RolloutPhase:
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.rollout is not None
    return state.rollout.phase


@pytest.mark.parametrize(
    "command",
    [commands.abort, commands.pause, commands.resume, commands.retry, commands.rollback],
)
def test_nothing_to_act_on_is_refused_with_a_reason(
    command: Callable[[World, str, str, Asked], Changes],
) -> None:
    sim, asked = settled()
    with pytest.raises(Refused) as refused:
        command(sim.world, "shop", "web", asked)
    assert "shop/web" in refused.value.cause
    assert refused.value.remedy
    with pytest.raises(Refused, match="is not declared"):
        command(sim.world, "shop", "other", asked)


def test_abort_holds_the_target_and_goes_back() -> None:
    sim, asked = settled()
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(1)
    sim.commit(commands.abort(sim.world, "shop", "web", asked))
    assert phase(sim) is RolloutPhase.ROLLING_BACK
    hold = sim.world.get(Hold, "shop/web/b")
    assert hold is not None
    assert (hold.by, hold.reason) == ("ann", "aborted by ann")
    sim.advance(10)
    assert phase(sim) is RolloutPhase.ABORTED


def test_a_pause_lasts_until_resume() -> None:
    sim, asked = settled()
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(1)
    sim.commit(commands.pause(sim.world, "shop", "web", asked))
    sim.advance(3_000)
    assert phase(sim) is RolloutPhase.PAUSED
    later = Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(commands.promote(sim.world, "shop", "web", later, full=False))
    sim.advance(20)
    assert phase(sim) is RolloutPhase.COMPLETE


def test_promote_skips_a_delay_only_when_told_so() -> None:
    sim, asked = settled()
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(1)
    with pytest.raises(Refused, match="waits for nobody"):
        commands.promote(sim.world, "shop", "web", asked, full=False)


def test_rollback_goes_to_a_proven_revision_and_holds_what_it_leaves() -> None:
    sim, _ = settled()
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(20)
    asked = Asked("ann", sim.now, sim.ids.__next__)
    with pytest.raises(Refused, match="has run in full before"):
        commands.rollback(sim.world, "shop", "web", asked, "x")
    sim.commit(commands.rollback(sim.world, "shop", "web", asked, "a"))
    assert sim.world.get(Hold, "shop/web/b") is not None
    sim.advance(20)
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.stable == "a"
    later = Asked("ann", sim.now, sim.ids.__next__)
    sim.commit(commands.retry(sim.world, "shop", "web", later))
    sim.advance(20)
    again = sim.world.get(ServiceState, "shop/web")
    assert again is not None
    assert again.stable == "b"


def test_what_cannot_come_back_as_it_was_is_replaced_in_a_rollback() -> None:
    sim, asked = settled()
    asked = dataclasses.replace(asked, renew=renewed)
    sim.deploy("shop", {"web": (web(), "b")})
    sim.advance(40)
    sim.commit(commands.rollback(sim.world, "shop", "web", asked))
    assert any("a2 instead of a" in e.text for e in sim.events())
    sim.advance(40)
    assert {v.task.revision for v in sim.world.tasks_of("shop", "web") if v.live} == {"a2"}
    assert phase(sim) is RolloutPhase.COMPLETE


CANARY = Strategy(
    kind=StrategyKind.CANARY, steps=(SetWeight(weight=500), Pause(seconds=60.0), Pause())
)


def canary(policy: Strategy = CANARY) -> Simulation:
    """A canary in its timed pause, or in its second step."""
    sim = Simulation(1)
    for revision in ("a", "b"):
        sim.deploy("shop", {"web": (web(strategy=policy, rollback=policy), revision)})
        sim.advance(20)
    return sim


JUDGED = Strategy(
    kind=StrategyKind.CANARY,
    steps=(SetWeight(weight=500), Analyse(policy=AnalysisPolicy())),
    on_failure=OnFailure.PAUSE,
)


def answer(sim: Simulation, place: str, verdict: Verdict) -> None:
    rollout = running(sim)
    begun = AnalysisState(canary=rollout.target, stable=RevisionId("a"), started=0)
    runs = {place: Run(state=begun, judgement=said(verdict))}
    sim.write(Analysis(stack="shop", service="web", rollout=rollout.id, runs=runs))
    sim.advance(1)


def test_only_an_analysis_that_could_not_decide_waits_for_a_person() -> None:
    sim = canary(JUDGED)
    with pytest.raises(Refused, match="waits for nobody: step 2 of 2: analysis: no answer yet"):
        commands.promote(sim.world, "shop", "web", ask(sim), full=False)
    answer(sim, "step 2", Verdict.INCONCLUSIVE)
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=False))
    sim.advance(10)
    assert running(sim).phase is RolloutPhase.COMPLETE


def test_resume_begins_an_analysis_anew_only_when_it_has_failed() -> None:
    sim = canary(JUDGED)
    sim.commit(commands.pause(sim.world, "shop", "web", ask(sim)))
    sim.commit(commands.resume(sim.world, "shop", "web", ask(sim)))
    assert (running(sim).attempt, running(sim).judges) == (0, True)
    answer(sim, "step 2", Verdict.FAIL)
    assert running(sim).phase is RolloutPhase.PAUSED
    sim.commit(commands.resume(sim.world, "shop", "web", ask(sim)))
    sim.advance(1)
    assert (running(sim).attempt, running(sim).phase) == (1, RolloutPhase.PROGRESSING)


def test_promote_in_full_goes_without_analysis() -> None:
    sim = canary(JUDGED)
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=True))
    answer(sim, "step 2", Verdict.FAIL)
    sim.advance(10)
    assert running(sim).phase is RolloutPhase.COMPLETE


def running(sim: Simulation) -> Rollout:
    state = sim.world.get(ServiceState, "shop/web")
    assert state is not None
    assert state.rollout is not None
    return state.rollout


def ask(sim: Simulation) -> Asked:
    return Asked("ann", sim.now, sim.ids.__next__)


def test_promote_ends_the_pause_that_is_current_and_no_other() -> None:
    sim = canary()
    assert running(sim).step == 1
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=False))
    with pytest.raises(Refused, match="waits for nobody"):
        commands.promote(sim.world, "shop", "web", ask(sim), full=False)
    sim.advance(1)
    assert (running(sim).step, running(sim).waits) == (2, True)
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=False))
    sim.advance(10)
    assert running(sim).phase is RolloutPhase.COMPLETE


def test_promote_of_the_pause_that_was_seen_ends_no_later_one() -> None:
    """Two people who see the same pause: the second is told that it has gone on."""
    sim = canary()
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=False, step=1))
    sim.advance(1)
    assert (running(sim).step, running(sim).waits) == (2, True)
    for full in (False, True):
        with pytest.raises(Refused, match="gone on meanwhile: step 3 of 3"):
            commands.promote(sim.world, "shop", "web", ask(sim), full=full, step=1)
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=False, step=2))
    sim.advance(10)
    assert running(sim).phase is RolloutPhase.COMPLETE


def test_what_was_meant_of_one_rollout_is_not_done_to_the_one_that_superseded_it() -> None:
    sim = canary()
    for revision in ("", "b"):
        commands.meant(sim.world, "shop/web", revision)
    sim.deploy("shop", {"web": (web(strategy=CANARY, rollback=CANARY), "c")})
    sim.advance(20)
    assert running(sim).target == "c"
    with pytest.raises(Stale) as refused:
        commands.meant(sim.world, "shop/web", "b")
    assert refused.value.cause.startswith("shop/web has no rollout to b any more: a -> c, of relea")
    assert "runs now (step 2 of 3: pause 60s" in refused.value.cause
    assert refused.value.remedy == "Look again, then decide: stackd status shop/web."
    commands.meant(sim.world, "shop/web", "c")


def test_what_was_meant_of_a_rollout_that_is_over_is_told_so() -> None:
    sim, _ = settled()
    commands.meant(sim.world, "shop/web", "a")  # nothing else has run since
    with pytest.raises(Stale, match="no rollout to b under way: the last one was nothing -> a"):
        commands.meant(sim.world, "shop/web", "b")


def test_promote_in_full_is_asked_once() -> None:
    sim = canary()
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=True))
    with pytest.raises(Refused, match="waits for nobody"):
        commands.promote(sim.world, "shop", "web", ask(sim), full=True)
    sim.advance(10)
    assert running(sim).phase is RolloutPhase.COMPLETE


def test_a_pause_by_hand_stops_the_time_of_the_pause_that_is_a_step() -> None:
    sim = canary()
    left = running(sim).pause_left
    sim.commit(commands.pause(sim.world, "shop", "web", ask(sim)))
    sim.advance(500)
    assert running(sim).phase is RolloutPhase.PAUSED
    assert left - 6 < running(sim).pause_left <= left
    sim.commit(commands.resume(sim.world, "shop", "web", ask(sim)))
    sim.advance(1)
    assert (running(sim).phase, running(sim).step) == (RolloutPhase.PROGRESSING, 1)


@pytest.mark.parametrize("full", [True, False])
def test_promote_of_what_was_paused_by_hand_in_a_pause_goes_past_it(full: bool) -> None:
    sim = canary()
    sim.commit(commands.pause(sim.world, "shop", "web", ask(sim)))
    sim.advance(1)
    sim.commit(commands.promote(sim.world, "shop", "web", ask(sim), full=full))
    sim.advance(10)
    done = running(sim).phase is RolloutPhase.COMPLETE
    assert done if full else running(sim).waits
