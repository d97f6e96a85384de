"""The mixture e-process: how strongly the blocks speak for "worse", and for "no worse".

Given that one of the blocks of a window is bad, it is the canary's with probability
t0 = n_c / (n_c + n_s) when the canary is no worse, and with t = r t0 / (r t0 + 1 - t0) when it
fails r times as often. The product of these likelihood ratios has expectation of at most 1 when
the canary is no worse, so by Ville's inequality it ever reaches 1/a with probability a at most,
however often one looks. Called by `look`, `metrics` and `estimate`.
"""

import math

from stackd.core.model.analysis import Evidence, Window

ALPHA = 0.01
"""Probability with which a canary that is no worse is ever failed; shared by all tests."""
BETA = 0.05
"""Probability with which a canary at the ratio to be ruled out ever passes its comparison."""


def gain(ratio: float, window: Window) -> float:
    """Log likelihood ratio of "the canary fails `ratio` times as often" against "no worse"."""
    share = window.canary / (window.canary + window.stable)
    mean = ratio * share + 1 - share
    return window.canary_bad * math.log(ratio / mean) - window.stable_bad * math.log(mean)


def joined(first: Window, second: Window) -> Window:
    """Two windows as one."""
    return Window(
        canary=first.canary + second.canary,
        canary_bad=first.canary_bad + second.canary_bad,
        stable=first.stable + second.stable,
        stable_bad=first.stable_bad + second.stable_bad,
    )


def weighed(evidence: Evidence, window: Window, ruled_out: float) -> Evidence:
    """The evidence with a further window. One in which a side has no block stays open: whether it
    is weighed may depend on how many blocks there are, not on which of them are bad."""
    whole = joined(evidence.open, window)
    if not whole.canary or not whole.stable:
        return Evidence(worse=evidence.worse, fine=evidence.fine, open=whole)
    if not whole.canary_bad and not whole.stable_bad:
        return Evidence(worse=evidence.worse, fine=evidence.fine)
    steps = zip(evidence.worse, Evidence.RATIOS, strict=True)
    return Evidence(
        worse=tuple(log + gain(ratio, whole) for log, ratio in steps),
        fine=evidence.fine - gain(ruled_out, whole),
    )


def log_worse(evidence: Evidence) -> float:
    """Logarithm of E: the mean over the ratios."""
    top = max(evidence.worse)
    total = sum(math.exp(log - top) for log in evidence.worse)
    return top + math.log(total / len(evidence.worse))


def is_worse(evidence: Evidence, alpha: float = ALPHA) -> bool:
    """Whether the canary is shown to be worse."""
    return log_worse(evidence) >= -math.log(alpha)


def leans_worse(evidence: Evidence) -> bool:
    """Whether what is seen speaks more for "worse" than for "no worse"."""
    return log_worse(evidence) > 1e-9


def is_fine(evidence: Evidence, beta: float = BETA) -> bool:
    """Whether the ratio to be ruled out is."""
    return evidence.fine >= -math.log(beta)


def drift(window: Window, ruled_out: float) -> float:
    """Mean growth of `fine` for each canary block if the canary is no worse and bad blocks go on
    as in `window` (the whole analysis so far); 0 where that cannot be told."""
    if not window.canary or not window.stable:
        return 0.0
    rate = (window.canary_bad + window.stable_bad) / (window.canary + window.stable)
    share = window.canary / (window.canary + window.stable)
    mean = ruled_out * share + 1 - share
    return rate * ((1 - share) / share * math.log(mean) - math.log(ruled_out / mean))
