"""Which analyses are looked at, and where their answers stand."""

import msgspec
import pytest

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.strategy import Analyse, Pause, SetWeight, Strategy, StrategyKind
from stackd.core.rollout import asked
from tests.unit.core.rollout.cases import rollout

INLINE, BESIDE = AnalysisPolicy(interval=5.0), AnalysisPolicy(interval=20.0)
POLICY = Strategy(
    kind=StrategyKind.CANARY,
    steps=(SetWeight(weight=500), Analyse(policy=INLINE), Pause()),
    analysis=BESIDE,
)
OLD = RevisionId("a")


def test_the_background_of_all_steps_and_the_step_that_has_begun() -> None:
    assert asked.analyses(POLICY, rollout(source=OLD)) == {"background": BESIDE}
    assert asked.analyses(POLICY, rollout(source=OLD, step=1)) == {"background": BESIDE}
    begun = rollout(source=OLD, step=1, judges=True)
    assert asked.analyses(POLICY, begun) == {"background": BESIDE, "step 2": INLINE}
    assert asked.place(1) == "step 2"
    assert asked.analyses(POLICY, rollout(source=OLD, step=3)) == {"background": BESIDE}


def test_another_attempt_has_places_of_its_own() -> None:
    again = rollout(source=OLD, step=1, judges=True, attempt=1)
    places = list(asked.analyses(POLICY, again))
    assert places == ["background, attempt 2", "step 2, attempt 2"]
    assert [asked.background(at) for at in places] == [True, False]


def service(**fields: object) -> ServiceState:
    going = rollout(source=OLD, **fields)
    return ServiceState(stack="shop", service="web", stable=OLD, rollout=going)


def test_a_gate_is_told_which_step_it_confirms() -> None:
    words = ["set_weight 5%", "analysis", "pause until promoted", "take over"]
    told = [
        asked.confirmed(POLICY, state, "background")
        for state in (
            service(),
            *(service(step=n, confirmed=n + 1) for n in range(4)),
        )
    ]
    steps = [asked.Confirmed(n + 1, text, 4) for n, text in enumerate(words)]
    assert told == [*steps, None], "nothing is left to confirm after the take-over"
    within = asked.confirmed(POLICY, service(step=1, judges=True), "step 2")
    assert within == steps[1], "a gate in an analysis confirms that step itself"
    toggle = msgspec.structs.replace(POLICY, kind=StrategyKind.STAGED)
    assert asked.confirmed(toggle, service(step=2), "background") is None, "it takes nothing over"


@pytest.mark.parametrize(
    "fields",
    [
        {"source": None},
        {"full": True},
        {"phase": RolloutPhase.WAITING},
        {"phase": RolloutPhase.ROLLING_BACK},
        {"phase": RolloutPhase.COMPLETE},
    ],
)
def test_nothing_where_there_is_nothing_to_decide(fields: dict[str, object]) -> None:
    assert asked.analyses(POLICY, rollout(**{"source": OLD, **fields})) == {}


def test_a_paused_rollout_is_still_judged_and_a_rolling_one_never() -> None:
    paused = rollout(source=OLD, phase=RolloutPhase.PAUSED)
    assert asked.analyses(POLICY, paused) == {"background": BESIDE}
    assert asked.analyses(Strategy(analysis=BESIDE), rollout(source=OLD)) == {}
