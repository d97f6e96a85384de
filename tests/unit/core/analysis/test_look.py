import pytest

from stackd.core.analysis import look
from stackd.core.model.analysis import (
    AnalysisPolicy,
    Check,
    CheckKind,
    CheckOutcome,
    CheckResult,
    Compare,
    Counters,
    Limits,
    Metric,
    Observed,
    TaskFaults,
    Verdict,
)
from tests.unit.core.analysis.cases import block, blocks, judged, started

ERRORS = AnalysisPolicy(
    compare=Compare(latency=None), limits=Limits(error_rate=None, latency_p99=None), warm_up=0
)
QUIET = AnalysisPolicy(compare=Compare(latency=None), limits=Limits(latency_p99=None), warm_up=0)
STABLE = blocks(400, 20, canary=False)
CALM = blocks(400, canary=False)


def test_a_worse_canary_fails_with_the_figures() -> None:
    found = judged(ERRORS, Observed(blocks=(*blocks(20, 10), *STABLE)))
    assert (found.verdict, found.final) == (Verdict.FAIL, True)
    assert "5.00% of 200 requests against 0.50% of 4,000" in found.reason
    (reading,) = found.readings
    assert reading.evidence > reading.fails_at == 100
    assert reading.ratio is not None
    assert reading.ratio.low > 1


def test_the_promote_test_passes_when_min_requests_are_there() -> None:
    traffic = Observed(blocks=(*blocks(60, 1), *blocks(1200, 60, canary=False)))
    assert judged(ERRORS, traffic).verdict is Verdict.PASS
    few = AnalysisPolicy(compare=ERRORS.compare, limits=ERRORS.limits, warm_up=0, min_requests=601)
    found = judged(few, traffic)
    assert (found.verdict, found.final) == (Verdict.INCONCLUSIVE, False)
    assert "600 of at least 601 requests" in found.reason


def test_min_requests_never_keep_a_failure_back() -> None:
    policy = AnalysisPolicy(
        compare=ERRORS.compare, limits=ERRORS.limits, warm_up=0, min_requests=10_000
    )
    assert judged(policy, Observed(blocks=(*blocks(20, 10), *STABLE))).verdict is Verdict.FAIL


def test_a_quiet_service_passes_by_its_limit() -> None:
    assert judged(QUIET, Observed(blocks=(*blocks(20), *CALM))).verdict is Verdict.PASS
    without = judged(ERRORS, Observed(blocks=(*blocks(20), *CALM)))
    assert without.verdict is Verdict.INCONCLUSIVE
    assert without.estimate.requests is None


def test_the_bound_is_no_pass_while_the_comparison_leans_the_other_way() -> None:
    found = judged(QUIET, Observed(blocks=(*blocks(60, 1), *CALM)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "looks worse than stable, which may be chance" in found.reason


def test_the_estimate_says_how_many_requests_and_how_long() -> None:
    observed = Observed(blocks=(*blocks(20, 1), *STABLE))
    found = judged(ERRORS, observed, now=100.0)
    requests, seconds = found.estimate.requests, found.estimate.seconds
    assert requests is not None
    assert seconds == pytest.approx(requests / 2)  # 200 requests in 100 s
    assert f"about {requests:,} more requests" in found.reason
    many = requests // 10 + 5
    more = (
        *blocks(20 + many, 1 + many // 20),
        *blocks(20 * (20 + many), 20 + many, canary=False),
    )
    assert judged(ERRORS, Observed(blocks=more), now=100.0).verdict is Verdict.PASS


def test_no_stable_traffic_is_no_pass() -> None:
    found = judged(QUIET, Observed(blocks=blocks(60)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no requests at stable" in found.reason
    assert (
        "no requests at the canary"
        in judged(
            AnalysisPolicy(compare=Compare(latency=None), warm_up=0, min_requests=0),
            Observed(blocks=STABLE),
        ).reason
    )


def test_a_broken_limit_fails_whatever_stable_does() -> None:
    both = (*blocks(60, 60), *blocks(60, 60, canary=False))
    found = judged(QUIET, Observed(blocks=both))
    assert found.verdict is Verdict.FAIL
    assert "10.00% of 600 requests failed, the limit is 5.00%" in found.reason
    assert judged(ERRORS, Observed(blocks=both)).verdict is not Verdict.FAIL


def test_one_burst_breaks_no_limit() -> None:
    burst = (block(1, 9), *blocks(40)[1:])
    assert judged(QUIET, Observed(blocks=(*burst, *CALM))).verdict is not Verdict.FAIL


def test_a_broken_latency_limit() -> None:
    policy = AnalysisPolicy(
        compare=Compare(error_ratio=None, latency=None),
        limits=Limits(error_rate=None),
        warm_up=0,
    )
    found = judged(policy, Observed(blocks=blocks(60, over=2)))
    assert found.verdict is Verdict.FAIL
    assert "20.00% of 600 requests took longer than 500ms" in found.reason
    assert judged(policy, Observed(blocks=blocks(200))).verdict is Verdict.PASS


def test_guards_do_not_wait_for_the_warm_up() -> None:
    cold = AnalysisPolicy()
    crashed = judged(cold, Observed(faults=TaskFaults(crashes=2)), now=1.0)
    assert "crash loop" in crashed.reason
    state = look(cold, started(), Observed(blocks=(block(1, 9), block(2, 9))), 5).state
    found = judged(cold, Observed(blocks=(block(3, 9), block(4, 9))), 10.0, state)
    assert (found.verdict, found.final) == (Verdict.FAIL, True)
    assert "more than half" in found.reason
    assert found.readings[0].canary.value == 0  # nothing of it was judged


def test_a_log_that_lacks_requests_or_hides_errors_is_no_pass() -> None:
    traffic = (*blocks(20), *CALM)
    for counters, said in (
        (Counters(requests=400, errors=0), "shows 200 of 400 requests"),
        (Counters(requests=210, errors=30), "30 errors of the canary were retried"),
    ):
        state = look(QUIET, started(), Observed(counters=counters), 5).state
        found = judged(QUIET, Observed(blocks=traffic), 60.0, state)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert said in found.reason
    state = look(QUIET, started(), Observed(counters=Counters(requests=210, errors=2)), 5).state
    assert judged(QUIET, Observed(blocks=traffic), 60.0, state).verdict is Verdict.PASS
    down = Observed(blocks=traffic, doubts=("node2 sends no access log",))
    assert "node2 sends no access log" in judged(QUIET, down).reason


def test_checks_alone_decide_where_no_requests_are_judged() -> None:
    policy = AnalysisPolicy(
        compare=Compare(error_ratio=None, latency=None),
        limits=Limits(error_rate=None, latency_p99=None),
        checks=(Check(name="smoke", kind=CheckKind.COMMAND, failures=1),),
    )

    def asked(outcome: CheckOutcome, now: float = 60.0) -> Verdict:
        result = CheckResult(name="smoke", at=now - 1, outcome=outcome)
        return judged(policy, Observed(checks=(result,)), now).verdict

    assert asked(CheckOutcome.PASS) is Verdict.PASS
    assert asked(CheckOutcome.PASS, 29.0) is Verdict.INCONCLUSIVE  # warming up
    assert asked(CheckOutcome.FAIL) is Verdict.FAIL
    assert asked(CheckOutcome.ERROR) is Verdict.INCONCLUSIVE
    assert asked(CheckOutcome.ERROR, 1800.0) is Verdict.INCONCLUSIVE


def test_the_time_limit_ends_it_without_a_verdict() -> None:
    found = look(ERRORS, started(), Observed(), 1800.0)
    judgement = found.judgement
    assert (judgement.verdict, judgement.final) == (Verdict.INCONCLUSIVE, True)
    assert judgement.reason.startswith("no verdict within 30m: 0 of at least 200 requests")
    assert found.wake_at is None


def test_a_final_verdict_stays() -> None:
    failed = look(ERRORS, started(), Observed(blocks=(*blocks(20, 10), *STABLE)), 60)
    good = Observed(blocks=blocks(2000)[500:])
    later = look(ERRORS, failed.state, good, 90)
    assert later == failed


def test_in_the_background_it_can_only_fail() -> None:
    state = started(background=True)
    passed = look(QUIET, state, Observed(blocks=(*blocks(20), *CALM)), 60)
    assert (passed.judgement.verdict, passed.judgement.final) == (Verdict.PASS, False)
    assert passed.wake_at == 70
    assert not look(QUIET, state, Observed(), 10_000).judgement.final
    worse = tuple(block(n, 5) for n in range(21, 41))
    more = tuple(block(n, canary=False) for n in range(401, 801))
    failed = look(QUIET, passed.state, Observed(blocks=(*worse, *more)), 70)
    assert (failed.judgement.verdict, failed.judgement.final) == (Verdict.FAIL, True)


def test_a_slower_canary_fails() -> None:
    policy = AnalysisPolicy(limits=Limits(latency_p99=None), warm_up=0)
    first = look(policy, started(), Observed(blocks=blocks(40, canary=False, latency=0.1)), 10)
    assert (
        "latency not compared yet"
        in judged(policy, Observed(blocks=blocks(20)), 20.0, first.state).reason
    )
    slow = blocks(30, latency=0.16)
    same = tuple(block(n, canary=False, latency=0.09) for n in range(41, 441))
    found = judged(policy, Observed(blocks=(*slow, *same)), 20.0, first.state)
    assert found.verdict is Verdict.FAIL
    assert "the canary is slower than stable: 100.00% of 30 blocks" in found.reason
    within = blocks(30, latency=0.14)
    assert judged(policy, Observed(blocks=(*within, *same)), 20.0, first.state).verdict is (
        Verdict.PASS
    )


def test_a_shadow_that_turns_away_what_stable_answers_fails() -> None:
    policy = AnalysisPolicy(warm_up=0, compare=Compare(latency=None, turned_ratio=3.0))
    ours, theirs = blocks(30, turned=10), blocks(30, canary=False)
    found = judged(policy, Observed(blocks=(*ours, *theirs)))
    assert found.verdict is Verdict.FAIL
    assert found.reason.startswith(
        "the canary turns away (3xx, 4xx) more often than stable: 100.00% of 300 requests against"
        " 0.00% of 300"
    )
    assert [r.metric for r in found.readings] == [Metric.ERRORS, Metric.TURNED]
    plain = AnalysisPolicy(warm_up=0, compare=Compare(latency=None))
    assert judged(plain, Observed(blocks=(*ours, *theirs))).verdict is Verdict.PASS


def test_a_shadow_that_turns_away_as_many_passes() -> None:
    policy = AnalysisPolicy(warm_up=0, compare=Compare(latency=None, turned_ratio=3.0))
    some = tuple(block(n, turned=n % 2) for n in range(1, 41))
    same = tuple(block(n, turned=n % 2, canary=False) for n in range(1, 41))
    found = judged(policy, Observed(blocks=(*some, *same)))
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
