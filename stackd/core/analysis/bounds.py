"""Bounds of a rate: against a fixed limit at any time, and intervals for people.

The tests against a limit are the Beta-mixture confidence sequence for means of values from 0 to 1
(Robbins 1970; a value that is no 0 or 1 is only less extreme). So `bad` need not be whole: the mean
of a block counts as one value, which keeps the bound when errors come in bursts. Called by
`metrics` and `estimate`.
"""

import math

from stackd.core.model.analysis import Span, Window

Z99 = 2.5758293035489004
"""Two-sided 99 % of the normal distribution."""


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_e(rate: float, bad: float, count: float) -> float:
    """Logarithm of the evidence against the mean being `rate` (0 < rate < 1)."""
    good = count - bad
    mixed = _log_beta(bad + 0.5, good + 0.5) - _log_beta(0.5, 0.5)
    return mixed - bad * math.log(rate) - good * math.log(1 - rate)


def above(limit: float, bad: float, count: float, alpha: float) -> bool:
    """Whether the mean is over `limit`; ever wrongly said with probability `alpha` at most."""
    return bad > limit * count and log_e(limit, bad, count) >= -math.log(alpha)


def below(limit: float, bad: float, count: float, alpha: float) -> bool:
    """Whether the mean is under `limit`; ever wrongly said with probability `alpha` at most."""
    return bad < limit * count and log_e(limit, bad, count) >= -math.log(alpha)


def upper(bad: float, count: float, alpha: float) -> float:
    """The bound that the mean is under: the least limit that `below` confirms."""
    low, high = (bad / count if count else 0.0), 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if below(middle, bad, count, alpha):
            high = middle
        else:
            low = middle
    return high


def wilson(bad: float, count: float) -> Span:
    """A share with its Wilson 99 % interval."""
    if not count:
        return Span(value=0.0, low=0.0, high=1.0)
    share, square = bad / count, Z99 * Z99
    middle = share + square / (2 * count)
    reach = Z99 * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    whole = 1 + square / count
    low, high = (middle - reach) / whole, (middle + reach) / whole
    return Span(value=share, low=max(0.0, low) if bad else 0.0, high=min(1.0, high))


def ratio(window: Window) -> Span | None:
    """How many times as often the canary's blocks are bad as stable's, with the 99 % interval that
    follows from the share of the bad blocks that are the canary's; None without a bad block.
    `high` is infinite when the data allow any ratio."""
    bad = window.canary_bad + window.stable_bad
    if not bad or not window.canary or not window.stable:
        return None
    share = wilson(window.canary_bad, bad)
    odds = window.stable / window.canary
    low, value, high = (_odds(s) * odds for s in (share.low, share.value, share.high))
    return Span(value=value, low=low, high=high)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf
