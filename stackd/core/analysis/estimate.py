"""How much longer a pass would take if all goes on as it did so far. Called by `look`."""

import math

from stackd.core.analysis.bounds import below
from stackd.core.analysis.evidence import ALPHA, BETA, drift, leans_worse
from stackd.core.analysis.metrics import Comparison
from stackd.core.model.analysis import AnalysisPolicy, AnalysisState, Estimate, Tally

FURTHEST = 1_000_000_000
"""Requests beyond which nothing is foretold."""


def more_requests(
    policy: AnalysisPolicy, tally: Tally, comparisons: list[Comparison]
) -> int | None:
    """Requests of the canary that are still missing to a pass; None = it would never pass so."""
    least = max(0, policy.min_requests - tally.requests)
    quiet = until_below(policy.limits.error_rate, tally)
    needs = [_for(comparison, tally, quiet) for comparison in comparisons if not comparison.fine]
    if not comparisons:
        needs = [quiet]
    known = [need for need in needs if need is not None]
    return max([least, *known]) if len(known) == len(needs) else None


def _for(comparison: Comparison, tally: Tally, quiet: int | None) -> int | None:
    """What one comparison still needs: the sooner of its two ways to a pass."""
    growth = drift(comparison.window, comparison.ruled_out)
    ways = []
    if growth > 0 and tally.blocks:
        blocks = (-math.log(BETA) - comparison.evidence.fine) / growth
        ways.append(math.ceil(blocks * tally.requests / tally.blocks))
    if quiet is not None and not leans_worse(comparison.evidence):
        ways.append(quiet)
    return min(ways) if ways and min(ways) < FURTHEST else None


def until_below(limit: float | None, tally: Tally) -> int | None:
    """Further requests after which the bound of the error rate is under `limit`."""
    rate = tally.errors / tally.requests if tally.requests else 0.0
    if limit is None or rate >= limit:
        return None
    if tally.requests and below(limit, tally.errors, tally.requests, ALPHA):
        return 0
    low, high = tally.requests, max(1, tally.requests)
    while not below(limit, rate * high, high, ALPHA):
        low, high = high, 2 * high
        if high > FURTHEST:
            return None
    while high - low > max(1, low // 1000):
        middle = (low + high) // 2
        if below(limit, rate * middle, middle, ALPHA):
            high = middle
        else:
            low = middle
    return high - tally.requests


def estimate(state: AnalysisState, requests: int | None, warm_up: float, now: float) -> Estimate:
    """The missing requests with the time they take at the rate so far."""
    judged = now - max(state.started + warm_up, state.counted_from)
    seen = state.canary_tally.requests
    if requests is None or judged <= 0 or not seen:
        return Estimate(requests=requests)
    return Estimate(requests=requests, seconds=requests * judged / seen)


def words(found: Estimate) -> str:
    """`about 1,900 more requests, 12m at this rate`; '' when nothing can be told."""
    if not found.requests:
        return ""
    text = f"about {found.requests:,} more requests"
    return text if found.seconds is None else f"{text}, {span(found.seconds)} at this rate"


def span(seconds: float) -> str:
    """A duration as people say it: one unit, two below ten of it."""
    if seconds < 90:
        return f"{seconds:.0f}s"
    if seconds < 5400:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.1f}h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f}d"
