"""Staged: how the share of a toggle moves, looked at step by step."""

from dataclasses import replace

import msgspec

from stackd.core.model.analysis import AnalysisPolicy, OnInconclusive, Verdict
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, ToggleState
from stackd.core.model.strategy import Analyse, Pause, SetWeight, Strategy, StrategyKind
from stackd.core.rollout import staged
from stackd.core.rollout.common import UNSTEERED, Gate, Observed, Step
from tests.unit.core.rollout.cases import NOW, rollout, said

reaching = ToggleState.reaching
STEPS = (
    SetWeight(weight=100),
    Pause(seconds=60),
    Analyse(policy=AnalysisPolicy(on_inconclusive=OnInconclusive.ABORT)),
    SetWeight(weight=8_000),
)
POLICY = Strategy(kind=StrategyKind.STAGED, steps=STEPS)


def going(**fields: object) -> Rollout:
    return rollout(target=RevisionId("80%"), source=RevisionId("0%"), **fields)


def seen(share: int = 0, *, applied: bool = True, former: int = 0, **fields: object) -> Observed:
    base = Observed(target="80%", stable="0%", wanted=1, counts={}, former=former)
    return replace(base, weights=reaching(share), applied=applied, **fields)  # type: ignore[arg-type]


def step(state: Rollout, observed: Observed, now: float = NOW) -> Step:
    return staged.step(POLICY, state, observed, now)


def test_a_share_is_set_and_waited_for() -> None:
    found = step(going(), seen())
    assert (found.weights, found.counts, found.steering) == (reaching(100), {}, UNSTEERED)
    assert found.reason == "step 1 of 4: set_weight 1%, waits until every node has applied it"
    found = step(found.state, seen(100, applied=False))
    assert (found.state.step, found.weights) == (0, reaching(100))


def test_a_pause_begins_when_all_nodes_have_it_and_ends() -> None:
    found = step(going(), seen(100))
    assert (found.state.step, found.told) == (1, "step 2 of 4: pause 60s")
    assert found.wake_at == NOW + 60
    state = msgspec.structs.replace(found.state, pause_left=1.0)
    over = step(state, seen(100), NOW + 2)
    assert (over.state.step, over.state.judges) == (2, True)


def test_it_never_falls_below_the_former_share() -> None:
    found = step(going(), seen(500, former=500))
    assert (found.state.step, found.weights) == (1, reaching(500))


def test_an_analysis_passes_or_has_it_fail() -> None:
    state = going(step=2, judges=True)
    waits = step(state, seen(100))
    assert waits.reason == "step 3 of 4: analysis: no answer yet"
    passed = step(state, seen(100, answers={"step 3": said(Verdict.PASS)}))
    assert (passed.state.step, passed.weights) == (3, reaching(8_000))
    undecided = step(state, seen(100, answers={"step 3": said(Verdict.INCONCLUSIVE, "why")}))
    assert undecided.failed == "analysis is inconclusive: why"


def test_it_is_done_with_the_last_share() -> None:
    found = step(going(step=3), seen(8_000))
    assert (found.done, found.weights, found.state.step) == (True, reaching(8_000), 4)


def test_in_full_it_goes_to_the_last_step() -> None:
    found = step(going(full=True), seen(100))
    assert (found.state.step, found.weights, found.done) == (3, reaching(8_000), False)
    assert step(found.state, seen(8_000)).done


def test_back_to_the_former_share() -> None:
    back = replace(seen(8_000, former=500), target="0%")
    found = step(going(step=4), back)
    assert (found.weights, found.done) == (reaching(500), False)
    there = replace(seen(500, former=500), target="0%")
    assert step(found.state, there).done
    assert not step(found.state, replace(there, applied=False)).done


def test_weights_of_a_share() -> None:
    assert reaching(0) == {"off": 10_000}
    assert reaching(10_000) == {"on": 10_000}
    assert sum(reaching(37).values()) == 10_000
    assert ToggleState(stack="s", service="w/f", weights=reaching(37)).share == 37
    assert [staged.named(share) for share in (0, 5, 100, 10_000)] == ["0%", "0.05%", "1%", "100%"]


def test_a_gate_confirms_each_step_but_the_end() -> None:
    shut = seen(gate=Gate(0, "waits for ci to confirm"))
    kept = step(going(), shut)
    assert (kept.weights, kept.state.gated) == ({"off": 10_000}, True)
    assert kept.reason == "waits for ci to confirm"
    opened = seen(gate=Gate(NOW + 1, "waits for ci to confirm it"))
    begun = step(kept.state, opened)
    assert (begun.weights, begun.state.gated, begun.state.confirmed) == (reaching(100), False, 1)
    reached = step(begun.state, replace(shut, weights=reaching(100)))
    assert (reached.state.step, reached.state.gated) == (0, True)
    assert reached.reason == "step 1 of 4: done, waits for ci to confirm"
    assert step(going(step=3, confirmed=4), replace(shut, weights=reaching(8_000))).done
