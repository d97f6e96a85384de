"""Which rollout a service should have."""

import pytest

from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold, Release, ServiceRelease
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.stack import StackSpec
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.rollout.choose import Case, next_target
from tests.fakes.simulation import web
from tests.unit.core.rollout.cases import rollout

GOING, BACK, ENDED = RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK, RolloutPhase.ABORTED


def case(
    declared: str, held: bool, target: str = "", phase: RolloutPhase = GOING, stable: str = "a"
) -> Case:
    spec = web()
    service = ServiceRelease(spec=spec, revision=RevisionId(declared))
    state = ServiceState(
        stack="s",
        service="web",
        stable=RevisionId(stable) if stable else None,
        proven=(RevisionId("a"), RevisionId("p")),
        rollout=rollout(target=RevisionId(target), phase=phase) if target else None,
    )
    hold = Hold(stack="s", service="web", revision=RevisionId(declared), reason="bad", at=0)
    release = Release(
        stack="s",
        number=1,
        spec=StackSpec(name="s", services={"web": spec}),
        services={"web": service},
    )
    return Case(release, spec, RevisionId(declared), state, hold if held else None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (case("a", held=False), None),
        (case("b", held=False), "b"),
        (case("b", held=False, stable=""), "b"),
        (case("b", held=False, target="b"), None),
        (case("c", held=False, target="b"), "c"),
        (case("a", held=False, target="b"), "a"),
        (case("b", held=False, target="b", phase=BACK), "b"),
        (case("c", held=False, target="b", phase=BACK), "c"),
        (case("b", held=True), None),
        (case("b", held=True, target="b", phase=ENDED), None),
        (case("b", held=True, target="b", phase=BACK), None),
        (case("b", held=True, target="c"), "a"),
        (case("b", held=True, target="p"), None),
        (case("b", held=True, target="a"), None),
    ],
)
def test_next_target(given: Case, expected: str | None) -> None:
    assert next_target(given) == expected


def test_a_way_back_has_its_own_pace_unless_two_revisions_may_not_meet() -> None:
    back = case("b", held=True, target="b", phase=BACK)
    assert back.policy is back.spec.rollback
    recreate = web(strategy=Strategy(kind=StrategyKind.RECREATE))
    other = Case(back.release, recreate, back.declared, back.state, back.hold)
    assert other.policy.kind is StrategyKind.RECREATE
