import random

import pytest

from stackd.core.analysis.recording import Row
from stackd.core.analysis.replay import Plan, Worse, replay, usable
from stackd.core.model.analysis import AnalysisPolicy, Check, CheckKind, Verdict

POLICY = AnalysisPolicy(time_limit=900.0)


def recording(minutes: int, stable: int, canary_errors: float | None = None) -> list[Row]:
    """A minute's counts of each instance: 60 requests, 1 in 200 failed."""
    source = random.Random(7)

    def row(minute: int, instance: str, canary: bool, errors: float) -> Row:
        bad = sum(source.random() < errors for _ in range(60))
        return Row(at=minute * 60.0, requests=60, errors=bad, instance=instance, canary=canary)

    rows = []
    for minute in range(minutes):
        rows += [row(minute, f"s{n}", False, 0.005) for n in range(stable)]
        if canary_errors is not None:
            rows.append(row(minute, "c", True, canary_errors))
    return rows


def test_false_aborts_and_detection() -> None:
    plan = Plan((Worse(times=20), Worse(rate=0.5)), 12)
    found = replay(POLICY, recording(40, 10, 0.1), plan, random.Random(1).random)
    assert found.recorded is not None
    assert found.recorded.verdict is Verdict.FAIL
    assert found.equal is not None
    assert (found.equal.runs, found.equal.failed) == (12, 0)
    assert found.equal.passed > 6
    more, most = found.worse
    assert (more.label, most.label) == ("20x", "50%")
    assert most.failed == 12
    assert most.fail_seconds is not None
    assert more.fail_seconds is not None
    assert most.fail_seconds <= more.fail_seconds
    assert (found.instances, found.block, found.requests) == (10, 10, 40 * 11 * 60)
    for trial in (found.equal, *found.worse):
        assert trial.failed + trial.passed + trial.undecided == trial.runs


def test_the_same_numbers_give_the_same_answer() -> None:
    rows, plan = recording(20, 4), Plan((Worse(times=5),), 4)
    once = replay(POLICY, rows, plan, random.Random(3).random)
    assert replay(POLICY, rows, plan, random.Random(3).random) == once
    assert once.recorded is None


def test_one_instance_has_nobody_to_be_compared_with() -> None:
    found = replay(POLICY, recording(20, 1), Plan((), 4), random.Random(1).random)
    assert (found.equal, found.worse) == (None, ())
    assert any("at least two stable instances" in note for note in found.notes)


def test_what_counts_do_not_show_is_left_out_and_said() -> None:
    check = Check(name="x", kind=CheckKind.COMMAND)
    policy, notes = usable(AnalysisPolicy(checks=(check,)), recording(1, 2))
    assert policy.checks == ()
    assert (policy.compare.latency, policy.limits.latency_p99) == (None, None)
    assert policy.compare.error_ratio == 3.0
    assert len(notes) == 3
    timed = [Row(at=0.0, requests=10, latency=0.1)]
    assert usable(AnalysisPolicy(), timed)[0].compare.latency is not None


@pytest.mark.parametrize(
    ("worse", "before", "label", "chance"),
    [
        (Worse(times=3), 0.1, "3x", 0.2 / 0.9),
        (Worse(rate=0.005), 0.0, "0.5%", 0.005),
        (Worse(rate=0.05), 0.1, "5%", 0.0),
        (Worse(rate=1.0), 0.5, "100%", 1.0),
    ],
)
def test_how_much_worse(worse: Worse, before: float, label: str, chance: float) -> None:
    assert worse.label == label
    assert worse.extra(before) == pytest.approx(chance)
