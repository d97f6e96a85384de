"""The rules that other tools and habits decide a canary by, to hold the analysis against.

One look a minute at the counts so far; each rule says whether it takes the canary back.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import NormalDist, median

from stackd.core.analysis.evidence import is_fine, is_worse, weighed
from stackd.core.model.analysis import Evidence, Window

MINUTES = 15
CANARY, STABLE = 60, 1140
"""Requests a minute: 5 % of 20 a second."""

Minute = tuple[int, int]
"""Errors of the canary and of stable in one minute."""
Rule = Callable[[list[Minute]], int]
"""The minute in which the canary is taken back; 0 = never."""


@dataclass(frozen=True)
class Cell:
    """How often a rule takes the canary back, and the median minute of those times."""

    share: float
    minute: float


class Draw:
    """Binomial numbers by inversion."""

    def __init__(self, chance: float, trials: int) -> None:
        total, each, self._sums = 0.0, (1 - chance) ** trials, list[float]()
        for n in range(trials + 1):
            total += each
            self._sums.append(total)
            if total > 1 - 1e-12:
                break
            each *= (trials - n) / (n + 1) * chance / (1 - chance)
        self._sums[-1] = 1.1

    def one(self, source: Random) -> int:
        return bisect_left(self._sums, source.random())


def recordings(canary: float, stable: float, runs: int, seed: int) -> list[list[Minute]]:
    """Minutes of `runs` canaries with these error rates."""
    source, ours, theirs = Random(seed), Draw(canary, CANARY), Draw(stable, STABLE)
    return [[(ours.one(source), theirs.one(source)) for _ in range(MINUTES)] for _ in range(runs)]


def cell(rule: Rule, minutes: list[list[Minute]]) -> Cell:
    found = [minute for run in minutes if (minute := rule(run))]
    return Cell(len(found) / len(minutes), median(found) if found else 0)


def threshold(times: int) -> Rule:
    """Success of at least 99 % each minute, `times` misses allowed but for the last."""

    def rule(run: list[Minute]) -> int:
        misses = 0
        for minute, (bad, _) in enumerate(run, 1):
            misses += bad / CANARY > 0.01
            if misses >= times:
                return minute
        return 0

    return rule


def cumulative(test: Callable[[int, int, int, int], bool]) -> Rule:
    """A test of the sums so far: bad and all of the canary, bad and all of stable."""

    def rule(run: list[Minute]) -> int:
        ours = theirs = 0
        for minute, (bad, stable) in enumerate(run, 1):
            ours, theirs = ours + bad, theirs + stable
            if test(ours, minute * CANARY, theirs, minute * STABLE):
                return minute
        return 0

    return rule


def disjoint(level: float) -> Rule:
    """Wilson intervals of both rates do not touch."""
    z = NormalDist().inv_cdf((1 + level) / 2)

    def bounds(bad: int, count: int) -> tuple[float, float]:
        share, whole = bad / count, 1 + z * z / count
        middle = share + z * z / (2 * count)
        reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
        return (middle - reach) / whole, (middle + reach) / whole

    return cumulative(lambda b, n, s, m: bounds(b, n)[0] > bounds(s, m)[1])


def mixture(alpha: float) -> Rule:
    """The e-process of stackd on single requests."""

    def rule(run: list[Minute]) -> int:
        evidence = Evidence()
        for minute, (bad, stable) in enumerate(run, 1):
            window = Window(canary=CANARY, canary_bad=bad, stable=STABLE, stable_bad=stable)
            evidence = weighed(evidence, window, 3.0)
            if is_worse(evidence, alpha):
                return minute
        return 0

    return rule


def promotion(run: list[Minute]) -> int:
    """The minute in which stackd's promote test passes the canary; 0 = never, or failed before."""
    evidence = Evidence()
    for minute, (bad, stable) in enumerate(run, 1):
        window = Window(canary=CANARY, canary_bad=bad, stable=STABLE, stable_bad=stable)
        evidence = weighed(evidence, window, 3.0)
        if is_worse(evidence):
            return 0
        if is_fine(evidence):
            return minute
    return 0


def sprt(run: list[Minute]) -> int:
    """Wald's test of a risk ratio of 3, 1 % and 5 %; a promotion ends it."""
    evidence = Evidence()
    for minute, (bad, stable) in enumerate(run, 1):
        window = Window(canary=CANARY, canary_bad=bad, stable=STABLE, stable_bad=stable)
        evidence = weighed(evidence, window, 3.0)
        if -evidence.fine >= -math.log(0.01):
            return minute
        if is_fine(evidence):
            return 0
    return 0
