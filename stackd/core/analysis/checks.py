"""What checks outside stackd say: their answers judged, and put together.

A source that is down, slow or talks nonsense is never a pass and never a failure. Called by `look`;
`answer` by whoever has asked Prometheus.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

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

STALE_AFTER = 60.0
"""Seconds, or three intervals if that is longer, after which an answer is too old to pass on."""


def holds(condition: Condition, value: float) -> bool:
    """Whether a number fulfils a condition."""
    match condition.operator:
        case Operator.AT_LEAST:
            return value >= condition.value
        case Operator.AT_MOST:
            return value <= condition.value
        case Operator.ABOVE:
            return value > condition.value
        case Operator.BELOW:
            return value < condition.value
        case Operator.EQUAL:
            return value == condition.value
        case Operator.OTHER:
            return value != condition.value


def answer(check: Check, values: Sequence[float], at: float) -> CheckResult:
    """The result of a query: every value must fulfil the condition. No value, or one that is no
    number, says nothing."""
    condition = check.condition
    assert condition is not None, "a query has a condition"
    if not values:
        return _result(check, at, CheckOutcome.ERROR, "the query gave no value")
    if odd := [v for v in values if not math.isfinite(v)]:
        return _result(check, at, CheckOutcome.ERROR, f"the query gave {odd[0]:g}")
    bad = [v for v in values if not holds(condition, v)]
    outcome = CheckOutcome.FAIL if bad else CheckOutcome.PASS
    shown = bad[0] if bad else values[0]
    wanted = f"wanted {condition.operator} {condition.value:g}"
    return _result(check, at, outcome, f"result is {shown:g}, {wanted}")


def _result(check: Check, at: float, outcome: CheckOutcome, text: str) -> CheckResult:
    return CheckResult(name=check.name, at=at, outcome=outcome, text=text)


def taken(
    states: Mapping[str, CheckState], policy: AnalysisPolicy, results: Iterable[CheckResult]
) -> dict[str, CheckState]:
    """The states with the newer ones of the results."""
    known = {check.name for check in policy.checks}
    found = {name: state for name, state in states.items() if name in known}
    for result in sorted(results, key=lambda r: r.at):
        before = found.get(result.name)
        if result.name not in known or (before is not None and result.at <= before.at):
            continue
        found[result.name] = CheckState(
            at=result.at,
            outcome=result.outcome,
            text=result.text,
            step=result.step,
            failures=_failures(before.failures if before else 0, result.outcome),
        )
    return found


def _failures(before: int, outcome: CheckOutcome) -> int:
    """No answer neither adds to the failures in a row nor ends them."""
    match outcome:
        case CheckOutcome.FAIL:
            return before + 1
        case CheckOutcome.ERROR:
            return before
        case CheckOutcome.PASS | CheckOutcome.WAIT:
            return 0


def failed(states: Mapping[str, CheckState], policy: AnalysisPolicy) -> str:
    """Why a check fails the analysis, or ''. A gate never does."""
    for check in policy.checks:
        state = states.get(check.name)
        if state is None or check.kind is CheckKind.WEBHOOK or state.failures < check.failures:
            continue
        times = f", {state.failures} times in a row" if state.failures > 1 else ""
        return f"check {check.name} failed{times}{_said(state)}"
    return ""


def withheld(states: Mapping[str, CheckState], policy: AnalysisPolicy, now: float) -> str:
    """Why the checks do not let the analysis pass yet, or ''."""
    limit = max(STALE_AFTER, 3 * policy.interval)
    for check in policy.checks:
        state = states.get(check.name)
        if state is None:
            return f"check {check.name} has not answered yet"
        if state.outcome is CheckOutcome.ERROR:
            return f"check {check.name} cannot be asked{_said(state)}"
        if check.kind is CheckKind.WEBHOOK and state.outcome is not CheckOutcome.PASS:
            return f"{check.name} has not confirmed{_said(state)}"
        if state.outcome is not CheckOutcome.PASS:
            return f"check {check.name} failed{_said(state)}"
        if now - state.at > limit:
            return f"check {check.name} has not answered for {now - state.at:.0f}s"
    return ""


def _said(state: CheckState) -> str:
    return f": {state.text}" if state.text else ""
