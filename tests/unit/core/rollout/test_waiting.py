"""A step that is an analysis: what its answers mean."""

import pytest

from stackd.core.model.analysis import AnalysisPolicy, Judgement, OnInconclusive, Verdict
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Analyse, SetWeight, Strategy, StrategyKind
from stackd.core.rollout import canary
from stackd.core.rollout.common import Step, Tally
from tests.unit.core.rollout.cases import NOW, rollout, said, up
from tests.unit.core.rollout.test_weighted import seen

PART = {"a": 9500, "b": 500}


def look(
    answer: Judgement | None = None,
    state: Rollout | None = None,
    then: OnInconclusive = OnInconclusive.PAUSE,
    b: Tally | None = None,
    **step: object,
) -> Step:
    inline = Analyse(policy=AnalysisPolicy(on_inconclusive=then), **step)  # type: ignore[arg-type]
    policy = Strategy(kind=StrategyKind.CANARY, steps=(SetWeight(weight=500), inline))
    answers = {"step 2": answer} if answer else {}
    observed = seen(up(1) if b is None else b, PART, answers=answers)
    return canary.step(policy, state or rollout(step=1, judges=True), observed, NOW)


def test_it_begins_when_the_tasks_of_its_step_are_in_place() -> None:
    assert not look(state=rollout(step=1), b=up(1, 0)).state.judges
    begun = look(state=rollout(step=1))
    assert (begun.state.judges, begun.state.step) == (True, 1)
    assert begun.reason == "step 2 of 2: analysis: no answer yet"
    assert look(b=up(1, 0)).state.judges, "a task that dies does not end it"


def test_it_goes_on_when_it_has_passed() -> None:
    found = look(said(Verdict.PASS))
    assert (found.state.step, found.state.judges) == (2, False)


@pytest.mark.parametrize(
    "answer",
    [
        said(Verdict.INCONCLUSIVE, "80 of 200", final=False),
        said(Verdict.PASS, "80 of 200", final=False),
    ],
)
def test_it_waits_for_what_is_final_and_says_why(answer: Judgement) -> None:
    found = look(answer, then=OnInconclusive.PROMOTE)
    assert (found.state.step, found.state.waits) == (1, False)
    assert found.reason == "step 2 of 2: analysis: 80 of 200"


def test_what_has_failed_never_goes_on() -> None:
    for then in OnInconclusive:
        found = look(said(Verdict.FAIL, "bad"), then=then)
        assert (found.state.step, found.failed) == (1, "")


def test_what_could_not_decide_does_as_it_was_told() -> None:
    answer = said(Verdict.INCONCLUSIVE, "80 of 200")
    words = "analysis is inconclusive: 80 of 200"
    waits = look(answer)
    assert (waits.state.waits, waits.state.step, waits.failed) == (True, 1, "")
    assert waits.reason == f"step 2 of 2: {words}"
    assert look(answer, then=OnInconclusive.PROMOTE).state.step == 2
    assert look(answer, then=OnInconclusive.ABORT).failed == words


def test_one_with_a_time_is_decided_at_its_end_by_the_newest_answer() -> None:
    early = look(said(Verdict.PASS, final=False), seconds=60.0)
    assert (early.state.step, early.state.pause_left, early.wake_at) == (1, 60.0, NOW + 60)
    over = rollout(step=1, judges=True, pause_left=2.0, pause_at=NOW - 3)
    assert look(said(Verdict.PASS, final=False), over, seconds=60.0).state.step == 2
    undecided = look(said(Verdict.INCONCLUSIVE, "80 of 200", final=False), over, seconds=60.0)
    assert (undecided.state.step, undecided.state.waits) == (1, True)
    assert look(None, over, OnInconclusive.ABORT, seconds=60.0).failed.endswith("no answer yet")


def test_the_answer_of_a_step_with_a_name_stands_there() -> None:
    answer = said(Verdict.PASS)
    assert look(answer, called="pre_promotion").state.step == 1
