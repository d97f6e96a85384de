"""What an analysis promises, by seed: few false failures however often one looks, quick detection,
a verdict for the healthy. `make fuzz` and `make sim` play 1,000 seeds each."""

import itertools
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackd.core.analysis import begin, look
from stackd.core.analysis.evidence import is_worse, weighed
from stackd.core.model.analysis import (
    AnalysisPolicy,
    AnalysisState,
    Compare,
    Evidence,
    Limits,
    Observed,
    Verdict,
    Window,
)
from tests.fakes.canary import NEW, OLD, Played, Scene, Side, Traffic, play

DEFAULT = AnalysisPolicy(warm_up=0)
ERRORS_ONLY = AnalysisPolicy(
    compare=Compare(latency=None), limits=Limits(error_rate=None, latency_p99=None), warm_up=0
)
BOTH = pytest.mark.parametrize("policy", [DEFAULT, ERRORS_ONLY], ids=["default", "errors"])


def seeds() -> range:
    return range(1_000 if settings().max_examples > 100 else 100)


def scene(canary: float, stable: float, bursts: float = 0.0) -> Scene:
    """1 canary and 19 stable instances with a request a second each."""
    return Scene(Side(1, 1.0, canary), Side(19, 1.0, stable), bursts)


def played(policy: AnalysisPolicy, what: Scene, until: float = 1e9) -> list[Played]:
    return [play(policy, what, seed, until) for seed in seeds()]


def share(runs: list[Played], verdict: Verdict) -> float:
    return sum(run.judgement.verdict is verdict for run in runs) / len(runs)


@BOTH
def test_ten_times_the_errors_are_found_within_6_minutes(policy: AnalysisPolicy) -> None:
    runs = played(policy, scene(0.05, 0.005))
    soon = [r for r in runs if r.judgement.verdict is Verdict.FAIL and r.seconds <= 360]
    assert len(soon) >= 0.95 * len(runs)


@BOTH
def test_half_of_the_answers_failing_is_found_within_2_minutes(policy: AnalysisPolicy) -> None:
    runs = played(policy, scene(0.5, 0.005), 120)
    assert share(runs, Verdict.FAIL) == 1.0


@BOTH
def test_an_equal_canary_is_hardly_ever_taken_back(policy: AnalysisPolicy) -> None:
    runs = played(policy, scene(0.005, 0.005))
    assert share(runs, Verdict.FAIL) < 0.01
    assert share(runs, Verdict.PASS) > 0.9


def test_an_equal_canary_without_errors_is_promoted_within_its_time_limit() -> None:
    runs = played(DEFAULT, scene(0, 0))
    assert share(runs, Verdict.PASS) >= 0.99
    assert all(run.state.canary_tally.requests >= DEFAULT.min_requests for run in runs)


def test_bursts_of_errors_do_not_take_back_an_equal_canary() -> None:
    runs = played(ERRORS_ONLY, scene(0.002, 0.002, bursts=2.0), 900)
    assert share(runs, Verdict.FAIL) < 0.02
    runs = played(DEFAULT, scene(0.002, 0.002, bursts=2.0), 900)
    assert share(runs, Verdict.FAIL) < 0.02


@BOTH
def test_what_fails_for_all_at_once_takes_back_no_equal_canary(policy: AnalysisPolicy) -> None:
    """A second in which every request fails, 3 times a minute: it meets a larger share of the
    canary's blocks, which take ten seconds each, than of those of a task with 19 requests a
    second."""
    together = Scene(Side(1, 1.0, 0.001), Side(1, 19.0, 0.001), outages=3.0)
    few = len(seeds()) // (1 if len(seeds()) > 100 else 5)
    runs = [play(policy, together, seed, 900) for seed in range(few)]
    assert share(runs, Verdict.FAIL) < 0.01
    found = [play(policy, replace(together, canary=Side(1, 1.0, 0.3)), n, 360) for n in range(few)]
    assert share(found, Verdict.FAIL) >= 0.95


def test_what_is_slow_for_all_at_once_takes_back_no_equal_canary() -> None:
    policy = AnalysisPolicy(warm_up=0, compare=Compare(error_ratio=None))
    few = len(seeds()) // (1 if len(seeds()) > 100 else 5)
    together = Scene(Side(1, 1.0), Side(1, 19.0), outages=3.0, stalls=True)
    runs = [play(policy, together, seed, 1800) for seed in range(few)]
    assert sum("slower" in run.judgement.reason for run in runs) < 0.01 * few
    slow = replace(together, canary=Side(1, 1.0, median=0.15), outages=0.0)
    found = [play(policy, slow, seed, 600) for seed in range(few)]
    assert share(found, Verdict.FAIL) >= 0.95


def test_bursts_hardly_slow_detection() -> None:
    runs = played(ERRORS_ONLY, scene(0.05, 0.002, bursts=2.0), 360)
    assert share(runs, Verdict.FAIL) >= 0.9


def test_a_canary_three_times_as_slow_is_found_and_an_equal_one_passes() -> None:
    slow = Scene(Side(1, 1.0, 0.0, median=0.15), Side(19, 1.0))
    assert share(played(DEFAULT, slow, 360), Verdict.FAIL) >= 0.95
    within = Scene(Side(1, 1.0, 0.0, median=0.055), Side(19, 1.0))
    assert share(played(DEFAULT, within), Verdict.FAIL) < 0.01


@pytest.mark.parametrize("limit", [0.005, 0.05])
def test_a_canary_at_its_limit_is_hardly_ever_failed_by_it(limit: float) -> None:
    policy = AnalysisPolicy(
        compare=Compare(error_ratio=None, latency=None),
        limits=Limits(error_rate=limit, latency_p99=None),
        warm_up=0,
    )
    runs = played(policy, Scene(Side(errors=limit), Side()), 900)
    assert share(runs, Verdict.FAIL) <= 0.02
    beyond = played(policy, Scene(Side(errors=limit * 6), Side()), 900)
    assert share(beyond, Verdict.FAIL) >= 0.95


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([0.001, 0.01, 0.05]), st.integers(1, 30))
def test_another_process_goes_on_exactly(seed: int, errors: float, every: int) -> None:
    """Stored, read back, and some blocks delivered twice: nothing is different."""
    traffic = Traffic(scene(errors, 0.005), seed)
    whole = resumed = begin(NEW, OLD, 0.0)
    kept: tuple[object, ...] = ()
    for count in itertools.count(1):
        now, blocks = 10.0 * count, traffic.until(10.0 * count)
        first = look(DEFAULT, whole, Observed(blocks=blocks), now)
        if count % every == 0:
            resumed = msgspec.msgpack.decode(msgspec.msgpack.encode(resumed), type=AnalysisState)
        again = look(DEFAULT, resumed, Observed(blocks=(*blocks[::-1], *blocks)), now)
        assert again == first
        whole, resumed = first.state, again.state
        if first.wake_at is None or count == 60:
            break
        kept = (*kept, *blocks)
    assert kept


def test_looking_ever_more_often_keeps_the_bound() -> None:
    """A look every second, for half an hour with 1,000 seeds."""
    wrong = 0
    for seed in seeds():
        traffic, evidence = Traffic(scene(0.005, 0.005), seed), Evidence()
        for second in range(1, 1801 if len(seeds()) > 100 else 901):
            blocks = traffic.until(second)
            ours = [b for b in blocks if b.revision == NEW]
            bad = sum(1 for b in ours if b.errors)
            window = Window(
                canary=len(ours),
                canary_bad=bad,
                stable=len(blocks) - len(ours),
                stable_bad=sum(1 for b in blocks if b.errors) - bad,
            )
            evidence = weighed(evidence, window, 3.0)
            if is_worse(evidence):
                wrong += 1
                break
    assert wrong <= 0.01 * len(seeds())
