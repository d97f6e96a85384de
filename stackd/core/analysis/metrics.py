"""The comparisons and limits of a policy over the sums so far: what fails, what is settled.

Called by `look`. The probability of a false failure (`ALPHA`) is split among the tests.
"""

import math
from dataclasses import dataclass

from stackd.core.analysis import bounds
from stackd.core.analysis.evidence import ALPHA, BETA, is_fine, is_worse, leans_worse, log_worse
from stackd.core.model.analysis import (
    AnalysisPolicy,
    AnalysisState,
    Evidence,
    Metric,
    Reading,
    Tally,
    Window,
)

SLOW_RATIO = 3.0
"""A pass must rule out that the canary's blocks are slow this many times as often."""
P99_SHARE = 0.01
"""Share of requests that may be over a limit of the 99th percentile."""
_MOST = 1e300


@dataclass(frozen=True)
class Comparison:
    """One metric, canary against stable, over the whole analysis so far."""

    metric: Metric
    evidence: Evidence
    ruled_out: float
    window: Window
    singly: Evidence
    """The same of single requests."""

    @property
    def log_worse(self) -> float:
        """Logarithm of the evidence that the canary is worse: that of blocks and that of single
        requests must say so. Errors of one instance come in bursts, which mislead the latter; those
        of all together meet more blocks of the side whose blocks take longer to fill."""
        return min(log_worse(self.evidence), log_worse(self.singly))

    def worse(self, share: float) -> bool:
        """Whether the canary is shown to be worse; ever wrongly said with that probability."""
        return is_worse(self.evidence, share) and is_worse(self.singly, share)

    @property
    def fine(self) -> bool:
        """Whether the ratio to be ruled out is."""
        return is_fine(self.evidence)

    @property
    def seen(self) -> bool:
        """Whether both sides had blocks."""
        return bool(self.window.canary and self.window.stable)


def comparisons(policy: AnalysisPolicy, state: AnalysisState) -> list[Comparison]:
    """What the policy compares."""
    found = []
    canary, stable = state.canary_tally, state.stable_tally
    if policy.compare.error_ratio is not None:
        window = Window(
            canary=canary.blocks,
            canary_bad=canary.bad,
            stable=stable.blocks,
            stable_bad=stable.bad,
        )
        ratio = policy.compare.error_ratio
        found.append(Comparison(Metric.ERRORS, state.errors, ratio, window, state.errors_singly))
    if policy.compare.latency is not None:
        window = Window(
            canary=canary.timed,
            canary_bad=canary.slow,
            stable=stable.timed,
            stable_bad=stable.slow,
        )
        found.append(
            Comparison(Metric.LATENCY, state.latency, SLOW_RATIO, window, state.latency_singly)
        )
    if policy.compare.turned_ratio is not None:
        window = Window(
            canary=canary.blocks,
            canary_bad=canary.turned_blocks,
            stable=stable.blocks,
            stable_bad=stable.turned_blocks,
        )
        ratio = policy.compare.turned_ratio
        found.append(Comparison(Metric.TURNED, state.turned, ratio, window, state.turned_singly))
    return found


def asks_requests(policy: AnalysisPolicy) -> bool:
    """Whether the policy judges requests at all."""
    compare, limits = policy.compare, policy.limits
    asked = (compare.error_ratio, compare.latency, limits.error_rate, limits.latency_p99)
    return any(test is not None for test in asked)


@dataclass(frozen=True)
class Shares:
    """The parts of the probability of a false failure."""

    errors: float
    """Of the comparison of errors."""
    other: float
    """Of each other test."""

    def of(self, metric: Metric) -> float:
        """Of the comparison of a metric."""
        return self.errors if metric is Metric.ERRORS else self.other


def shares(policy: AnalysisPolicy) -> Shares:
    """Half for the comparison of errors, which finds most; the rest in equal parts."""
    compare, limits = policy.compare, policy.limits
    asked = (compare.latency, compare.turned_ratio, limits.error_rate, limits.latency_p99)
    others = sum(test is not None for test in asked)
    if compare.error_ratio is None or not others:
        return Shares(ALPHA, ALPHA / max(1, others))
    return Shares(ALPHA / 2, ALPHA / 2 / others)


def failed(policy: AnalysisPolicy, state: AnalysisState) -> str:
    """Why the canary's requests fail the analysis, or ''."""
    parts = shares(policy)
    for comparison in comparisons(policy, state):
        share = parts.of(comparison.metric)
        if comparison.worse(share):
            return _worse(comparison, state, share)
    tests = state.shares * (state.shares + 1) or 1  # 1/2 + 1/6 + 1/12 + ... = 1
    return _over(policy, state.canary_tally, parts.other / tests)


def _worse(comparison: Comparison, state: AnalysisState, share: float) -> str:
    canary, stable = state.canary_tally, state.stable_tally
    match comparison.metric:
        case Metric.ERRORS:
            text = (
                f"the canary fails more often than stable: {_share(canary.errors, canary.requests)}"
                f" of {canary.requests:,} requests against"
                f" {_share(stable.errors, stable.requests)} of {stable.requests:,}"
            )
        case Metric.LATENCY:
            text = (
                f"the canary is slower than stable: {_share(canary.slow, canary.timed)}"
                f" of {canary.timed:,} blocks of requests are slow, of stable's"
                f" {_share(stable.slow, stable.timed)} of {stable.timed:,}"
            )
        case Metric.TURNED:
            text = (
                "the canary turns away (3xx, 4xx) more often than stable:"
                f" {_share(canary.turned, canary.requests)} of {canary.requests:,} requests"
                f" against {_share(stable.turned, stable.requests)} of {stable.requests:,}"
            )
    return f"{text} (E = {_e(comparison):.3g}, enough is {1 / share:.0f})"


def _over(policy: AnalysisPolicy, tally: Tally, share: float) -> str:
    """Why a limit is surely broken, or ''."""
    if not tally.blocks:
        return ""
    limit = policy.limits.error_rate
    if limit is not None and _breaks(limit, (tally.errors, tally.bad), tally, share):
        found = _share(tally.errors, tally.requests)
        return f"{found} of {tally.requests:,} requests failed, the limit is {limit:.2%}"
    seconds = policy.limits.latency_p99
    over = (tally.over, tally.over_blocks)
    if seconds is not None and _breaks(P99_SHARE, over, tally, share):
        found = _share(tally.over, tally.requests)
        return f"{found} of {tally.requests:,} requests took longer than {seconds * 1000:.0f}ms"
    return ""


def _breaks(limit: float, found: tuple[int, int], tally: Tally, share: float) -> bool:
    """Whether requests, of which `found` (and the blocks with one) went wrong, break a limit.

    A block counts as one value, so that a burst is no proof. Two tests, half of the probability
    each: by the share of the block that went wrong (sharp for long failures), and by whether any
    of it did (sharp for single ones): no more than size x limit of the blocks may.
    """
    requests, blocks = found
    size = tally.requests / tally.blocks
    if bounds.above(limit, requests / size, tally.blocks, share / 2):
        return True
    most = size * limit
    return most < 1 and bounds.above(most, blocks, tally.blocks, share / 2)


def _share(part: int, whole: int) -> str:
    return f"{part / whole if whole else 0:.2%}"


def _e(comparison: Comparison) -> float:
    return math.exp(min(comparison.log_worse, math.log(_MOST)))


def quiet(policy: AnalysisPolicy, tally: Tally) -> bool:
    """Whether the canary's error rate is surely under its limit."""
    limit = policy.limits.error_rate
    return limit is not None and bounds.below(limit, tally.errors, tally.requests, ALPHA)


def unsettled(policy: AnalysisPolicy, state: AnalysisState) -> str:
    """Why the requests do not let the analysis pass yet, or ''.

    A comparison is settled by its promote test; where errors are too rare for that, by the bound
    of the error rate, unless what was seen speaks for "worse".
    """
    tally, calm = state.canary_tally, quiet(policy, state.canary_tally)
    if tally.requests < policy.min_requests:
        return f"{tally.requests:,} of at least {policy.min_requests:,} requests at the canary"
    for comparison in comparisons(policy, state):
        name = comparison.metric.value.replace("_", " ")
        if not comparison.seen:
            return f"{name} not compared yet: {_missing(comparison, state)}"
        if comparison.fine:
            continue
        if leans_worse(comparison.evidence):
            return f"{name}: the canary looks worse than stable, which may be chance"
        if not calm or not _enough(comparison, policy, tally):
            return f"{name}: too little was seen to tell the canary from stable"
    limits = policy.limits
    if policy.compare.error_ratio is not None or policy.compare.latency is not None:
        return ""
    if limits.error_rate is not None and not calm:
        bound = bounds.upper(tally.errors, tally.requests, ALPHA)
        return f"the error rate may be up to {bound:.2%}, the limit is {limits.error_rate:.2%}"
    over = bounds.below(P99_SHARE, tally.over, tally.requests, ALPHA)
    if limits.latency_p99 is not None and not over:
        return f"latency: up to {bounds.upper(tally.over, tally.requests, ALPHA):.2%} may be over"
    return ""


def _missing(comparison: Comparison, state: AnalysisState) -> str:
    if comparison.metric is Metric.LATENCY and state.slow_over is None:
        return "stable had too few requests to know what is slow"
    side = "stable" if comparison.window.canary else "the canary"
    return f"no requests at {side}"


def _enough(comparison: Comparison, policy: AnalysisPolicy, tally: Tally) -> bool:
    """Whether `min_requests` were judged by this metric too."""
    size = tally.requests / tally.blocks
    return comparison.window.canary * size >= policy.min_requests


def readings(policy: AnalysisPolicy, state: AnalysisState) -> tuple[Reading, ...]:
    """The comparisons as status shows them."""
    canary, stable, found = state.canary_tally, state.stable_tally, []
    for comparison in comparisons(policy, state):
        window = comparison.window
        match comparison.metric:
            case Metric.ERRORS:
                ours, theirs = (canary.errors, canary.requests), (stable.errors, stable.requests)
            case Metric.TURNED:
                ours, theirs = (canary.turned, canary.requests), (stable.turned, stable.requests)
            case Metric.LATENCY:
                ours, theirs = (
                    (window.canary_bad, window.canary),
                    (window.stable_bad, window.stable),
                )
        found.append(
            Reading(
                metric=comparison.metric,
                canary=bounds.wilson(*ours),
                stable=bounds.wilson(*theirs),
                ratio=bounds.ratio(window),
                evidence=_e(comparison),
                fails_at=1 / shares(policy).of(comparison.metric),
                fine=math.exp(min(comparison.evidence.fine, math.log(_MOST))),
                passes_at=1 / BETA,
            )
        )
    return tuple(found)
