import math

import pytest

from stackd.core.analysis import checks
from stackd.core.model.analysis import (
    AnalysisPolicy,
    Check,
    CheckKind,
    CheckOutcome,
    CheckResult,
    CheckState,
    Condition,
    Operator,
)

QUERY = Check(
    name="up",
    kind=CheckKind.PROMETHEUS,
    condition=Condition(operator=Operator.AT_LEAST, value=0.99),
)
GATE = Check(name="gate", kind=CheckKind.WEBHOOK)
POLICY = AnalysisPolicy(checks=(QUERY, GATE))


def result(outcome: CheckOutcome, at: float, name: str = "up", text: str = "") -> CheckResult:
    return CheckResult(name=name, at=at, outcome=outcome, text=text)


def after(*outcomes: CheckOutcome, name: str = "up") -> dict[str, CheckState]:
    return checks.taken({}, POLICY, [result(o, n, name) for n, o in enumerate(outcomes)])


@pytest.mark.parametrize(
    ("operator", "fulfilled"),
    [
        (Operator.AT_LEAST, [2, 3]),
        (Operator.AT_MOST, [1, 2]),
        (Operator.ABOVE, [3]),
        (Operator.BELOW, [1]),
        (Operator.EQUAL, [2]),
        (Operator.OTHER, [1, 3]),
    ],
)
def test_conditions(operator: Operator, fulfilled: list[int]) -> None:
    condition = Condition(operator=operator, value=2)
    assert [n for n in (1, 2, 3) if checks.holds(condition, n)] == fulfilled


@pytest.mark.parametrize(
    ("values", "outcome", "text"),
    [
        ([1.0], CheckOutcome.PASS, "result is 1, wanted >= 0.99"),
        ([1.0, 0.5], CheckOutcome.FAIL, "result is 0.5, wanted >= 0.99"),
        ([], CheckOutcome.ERROR, "no value"),
        ([math.nan], CheckOutcome.ERROR, "gave nan"),
        ([1.0, math.inf], CheckOutcome.ERROR, "gave inf"),
    ],
)
def test_answers_of_a_query(values: list[float], outcome: CheckOutcome, text: str) -> None:
    found = checks.answer(QUERY, values, 5.0)
    assert (found.outcome, found.name, found.at) == (outcome, "up", 5.0)
    assert text in found.text


FAIL, PASS, ERROR = CheckOutcome.FAIL, CheckOutcome.PASS, CheckOutcome.ERROR


def test_failures_in_a_row_fail() -> None:
    assert not checks.failed(after(FAIL, FAIL), POLICY)
    assert not checks.failed(after(FAIL, FAIL, PASS, FAIL), POLICY)
    assert "up failed, 3 times in a row" in checks.failed(after(FAIL, FAIL, ERROR, FAIL), POLICY)
    assert not checks.failed(after(ERROR, ERROR, ERROR, ERROR), POLICY)
    assert not checks.failed(after(FAIL, FAIL, FAIL, FAIL, name="gate"), POLICY)


def test_results_count_once_and_strangers_not_at_all() -> None:
    once = result(FAIL, 1.0)
    states = checks.taken({}, POLICY, [once, once, result(FAIL, 2.0, "other")])
    states = checks.taken(states, POLICY, [once])
    assert {name: state.failures for name, state in states.items()} == {"up": 1}


@pytest.mark.parametrize(
    ("up", "gate", "said"),
    [
        ((), (PASS,), "up has not answered yet"),
        ((PASS,), (CheckOutcome.WAIT,), "gate has not confirmed"),
        ((PASS,), (FAIL,), "gate has not confirmed"),
        ((ERROR,), (PASS,), "up cannot be asked"),
        ((FAIL,), (PASS,), "up failed"),
        ((PASS,), (PASS,), ""),
    ],
)
def test_what_withholds_a_pass(
    up: tuple[CheckOutcome, ...], gate: tuple[CheckOutcome, ...], said: str
) -> None:
    states = {**after(*up), **after(*gate, name="gate")}
    found = checks.withheld(states, POLICY, 10.0)
    assert said in found
    assert bool(found) is bool(said)


def test_an_old_answer_withholds_too() -> None:
    states = {**after(PASS), **after(PASS, name="gate")}
    assert "has not answered for 100s" in checks.withheld(states, POLICY, 100.0)
