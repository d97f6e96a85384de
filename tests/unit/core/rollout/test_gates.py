"""Gates: what they said, and which step that lets a rollout enter."""

import pytest

from stackd.core.model.analysis import (
    Analysis,
    AnalysisPolicy,
    AnalysisState,
    Check,
    CheckKind,
    CheckOutcome,
    CheckState,
    Run,
)
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, ServiceState
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.rollout import gates
from stackd.core.rollout.common import Gate, Observed
from tests.fakes.simulation import Simulation
from tests.unit.core.rollout.cases import NOW, observed, rollout

A = RevisionId("a")
CI = Check(name="ci", kind=CheckKind.WEBHOOK, url="http://ci.example/")
BOSS = Check(name="boss", kind=CheckKind.WEBHOOK, url="http://boss.example/")
SMOKE = Check(name="smoke", kind=CheckKind.COMMAND, command=("/bin/smoke",))
YES = CheckState(at=NOW + 5, outcome=CheckOutcome.PASS)
LATER = CheckState(at=NOW + 9, outcome=CheckOutcome.PASS)
NO = CheckState(at=NOW + 5, outcome=CheckOutcome.WAIT, text="404")


def policy(*checks: Check) -> Strategy:
    return Strategy(kind=StrategyKind.CANARY, analysis=AnalysisPolicy(checks=checks))


def gate(
    given: Strategy, going: Rollout, said: dict[str, CheckState], place: str = "background"
) -> Gate | None:
    sim = Simulation(1)
    state = ServiceState(stack="shop", service="web", stable=A, rollout=going)
    known = AnalysisState(canary=going.target, stable=A, started=NOW, checks=said)
    runs = {place: Run(state=known)}
    sim.write(Analysis(stack="shop", service="web", rollout="r1", runs=runs))
    return gates.of(sim.world, state, given)


def test_webhooks_beside_the_steps_are_gates_and_nothing_else_is() -> None:
    going = rollout(source=A)
    assert gate(Strategy(kind=StrategyKind.CANARY), going, {}) is None
    assert gate(policy(SMOKE), going, {}) is None
    assert gate(policy(CI), rollout(), {}) is None
    assert gate(policy(SMOKE, CI), going, {}) == Gate(0, "waits for ci to confirm")
    assert gate(policy(CI), going, {"ci": NO}) == Gate(0, "waits for ci to confirm: 404")


def test_all_of_them_must_confirm() -> None:
    going = rollout(source=A)
    both = gate(policy(BOSS, CI), going, {"ci": YES, "boss": LATER})
    assert both == Gate(NOW + 5, "waits for ci to confirm it")
    one = gate(policy(BOSS, CI), going, {"ci": YES})
    assert one == Gate(0, "waits for boss to confirm")


def test_what_was_said_of_another_rollout_or_attempt_opens_none() -> None:
    closed = Gate(0, "waits for ci to confirm")
    assert gate(policy(CI), rollout(source=A, id="r2"), {"ci": YES}) == closed
    again = rollout(source=A, attempt=1)
    assert gate(policy(CI), again, {"ci": YES}) == closed
    assert gate(policy(CI), again, {"ci": YES}, "background, attempt 2") != closed


def test_what_was_said_of_another_step_lets_into_none() -> None:
    """The answer to a question about step 2 that was under way while the rollout entered it."""
    closed = Gate(0, "waits for ci to confirm")
    late = CheckState(at=NOW + 5, outcome=CheckOutcome.PASS, step=2)
    assert gate(policy(CI), rollout(source=A, step=1), {"ci": late}) == closed
    open_ = gate(policy(CI), rollout(source=A, confirmed=1), {"ci": late})
    assert open_ == Gate(NOW + 5, "waits for ci to confirm it")


@pytest.mark.parametrize(
    ("going", "counts", "step"),
    [
        (rollout(), {"a": 4}, 0),
        (rollout(confirmed=1), {"a": 4}, 1),
        (rollout(), {"a": 4, "b": 1}, 1),
        (rollout(step=2, confirmed=3), {"a": 4, "b": 1}, 3),
        (rollout(step=2), {}, 3),
    ],
    ids=["before the first", "let into it", "gate is new", "further", "of a toggle"],
)
def test_the_step_that_is_asked_about(going: Rollout, counts: dict[str, int], step: int) -> None:
    state = ServiceState(stack="shop", service="web", stable=A, rollout=going, counts=counts)
    assert gates.upcoming(state, going) == step


@pytest.mark.parametrize(
    ("state", "since", "enters"),
    [
        (rollout(), 0, False),
        (rollout(), NOW, False),
        (rollout(), NOW + 1, True),
        (rollout(moved=NOW + 2), NOW + 1, False),
        (rollout(confirmed=3), 0, True),
        (rollout(confirmed=2), 0, False),
        (rollout(full=True), 0, True),
    ],
)
def test_a_confirmation_counts_when_it_came_after_the_last_move(
    state: Rollout, since: float, enters: bool
) -> None:
    closed = Gate(since, "waits for ci to confirm it")
    seen = facing(closed)
    assert (gates.kept(state, seen, 2) is None) is enters


def facing(closed: Gate | None) -> Observed:
    return Observed(target="b", stable="a", wanted=1, counts={}, gate=closed)


def test_it_waits_until_it_is_let_in() -> None:
    waiting = gates.at(rollout(confirmed=1))
    assert waiting.gated
    entered = gates.let_in(waiting, facing(Gate(NOW + 1, "")), 1)
    assert (entered.gated, entered.confirmed) == (False, 2)
    assert gates.let_in(rollout(), observed(1, {}), 1) == rollout()
