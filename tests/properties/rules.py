"""The rules that other tools and habits decide a canary by, to hold the analysis against.

One look a minute at the counts so far, or more often; each rule says whether it takes the canary
back.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import NormalDist, median

from stackd.core.analysis.evidence import is_fine, is_worse, weighed
from stackd.core.model.analysis import Evidence, Window

CANARY, STABLE = 60, 1140
"""Requests a minute: 5 % of 20 a second."""
INSTANCES = 20
"""Tasks that answer these, one of them the canary."""
SIZE = 10
"""Requests of a block, which is what an instance answers in 10 s."""


@dataclass(frozen=True)
class Pace:
    """Requests of the canary and of stable from one look to the next, and how many looks."""

    canary: int
    stable: int
    looks: int


EACH_MINUTE = Pace(CANARY, STABLE, 15)
EACH_10_S = Pace(SIZE, SIZE * (INSTANCES - 1), 90)

Minute = tuple[int, int]
"""Errors of the canary and of stable from one look to the next."""
Rule = Callable[[list[Minute]], int]
"""The look at which the canary is taken back, from 1; 0 = never."""


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


def recordings(
    canary: float, stable: float, runs: int, seed: int, pace: Pace = EACH_MINUTE
) -> list[list[Minute]]:
    """`runs` canaries with these error rates."""
    source, ours, theirs = Random(seed), Draw(canary, pace.canary), Draw(stable, pace.stable)
    looks = range(pace.looks)
    return [[(ours.one(source), theirs.one(source)) for _ in looks] for _ in range(runs)]


@dataclass(frozen=True)
class Burst:
    """Error rates of the canary and of stable, and bursts a minute, of about 6 errors each, at one
    random instance."""

    canary: float
    stable: float
    bursts: float = 0.0


def in_blocks(what: Burst, runs: int, seed: int) -> Iterator[list[tuple[Minute, Minute]]]:
    """`runs` canaries, looked at every 10 s: errors, and blocks with an error."""
    source = Random(seed)
    ours, theirs = Draw(what.canary, EACH_10_S.canary), Draw(what.stable, EACH_10_S.stable)
    for _ in range(runs):
        found, burst = [], _next(source, what.bursts)
        for look in range(EACH_10_S.looks):
            errors = [ours.one(source), *(0 for _ in range(INSTANCES - 1))]
            for _ in range(theirs.one(source)):
                errors[source.randrange(1, INSTANCES)] += 1
            while burst <= look:
                errors[source.randrange(INSTANCES)] += source.randint(4, 8)
                burst += _next(source, what.bursts)
            errors = [min(SIZE, number) for number in errors]
            bad = [int(number > 0) for number in errors]
            found.append(((errors[0], sum(errors[1:])), (bad[0], sum(bad[1:]))))
        yield found


def _next(source: Random, bursts: float) -> float:
    """Looks until the next burst."""
    return source.expovariate(bursts / 6) if bursts else math.inf


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


def cumulative(test: Callable[[int, int, int, int], bool], pace: Pace = EACH_MINUTE) -> Rule:
    """A test of the sums so far: bad and all of the canary, bad and all of stable."""

    def rule(run: list[Minute]) -> int:
        ours = theirs = 0
        for look, (bad, stable) in enumerate(run, 1):
            ours, theirs = ours + bad, theirs + stable
            if test(ours, look * pace.canary, theirs, look * pace.stable):
                return look
        return 0

    return rule


def differing(pace: Pace) -> Rule:
    """A z-test of two shares at 5 %, both sides."""
    least = NormalDist().inv_cdf(0.975)

    def test(bad: int, count: int, other: int, rest: int) -> bool:
        whole = (bad + other) / (count + rest)
        spread = math.sqrt(whole * (1 - whole) * (1 / count + 1 / rest))
        return bad / count - other / rest > least * spread

    return cumulative(test, pace)


def disjoint(level: float, pace: Pace = EACH_MINUTE) -> Rule:
    """Wilson intervals of both rates do not touch."""
    z = NormalDist().inv_cdf((1 + level) / 2)

    def bounds(bad: int, count: int) -> tuple[float, float]:
        share, whole = bad / count, 1 + z * z / count
        middle = share + z * z / (2 * count)
        reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
        return (middle - reach) / whole, (middle + reach) / whole

    return cumulative(lambda b, n, s, m: bounds(b, n)[0] > bounds(s, m)[1], pace)


def mixture(alpha: float, pace: Pace = EACH_MINUTE) -> Rule:
    """The e-process of stackd on single requests, or on blocks. It grows only by what is bad at
    the canary."""

    def rule(run: list[Minute]) -> int:
        evidence, sides = Evidence(), {"canary": pace.canary, "stable": pace.stable}
        for look, (bad, stable) in enumerate(run, 1):
            window = Window(**sides, canary_bad=bad, stable_bad=stable)
            evidence = weighed(evidence, window, 3.0)
            if bad and is_worse(evidence, alpha):
                return look
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


def fisher(alpha: float) -> Rule:
    """Fisher's exact test, one-sided, at each look."""

    @cache
    def test(bad: int, count: int, other: int, rest: int) -> bool:
        if bad * rest <= other * count:
            return False
        failed = bad + other
        whole = _log_choose(count + rest, failed)
        tail = range(bad, min(failed, count) + 1)
        chances = (_log_choose(count, n) + _log_choose(rest, failed - n) - whole for n in tail)
        return sum(map(math.exp, chances)) < alpha

    return cumulative(test)


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)


def bayes(sure: float) -> Rule:
    """The canary's rate is above stable's with this probability; Jeffreys' prior for both."""
    odds = [n * 0.06 - 14 for n in range(234)]
    shares = [(-math.log1p(math.exp(-at)), -math.log1p(math.exp(at))) for at in odds]

    @cache
    def density(bad: int, count: int) -> list[float]:
        """Of the log odds of the rate, each at its place in `odds`; their sum is 1."""
        each = [math.exp((bad + 0.5) * p + (count - bad + 0.5) * q) for p, q in shares]
        total = sum(each)
        return [value / total for value in each]

    @cache
    def test(bad: int, count: int, other: int, rest: int) -> bool:
        below = less = 0.0
        for ours, theirs in zip(density(bad, count), density(other, rest), strict=True):
            less += theirs * (below + ours / 2)
            below += ours
        return 1 - less > sure

    return cumulative(test)


FEWEST = 5
"""Points of each side before the rule on rates says anything."""
_Z98 = NormalDist().inv_cdf(0.99)


def shifted(run: list[Minute]) -> int:
    """Kayenta's rule on the rates of single minutes: the 98 % interval of the Hodges-Lehmann shift
    is above a quarter of the shift."""
    for minute in range(FEWEST, len(run) + 1):
        ours = [bad / CANARY for bad, _ in run[:minute]]
        theirs = [bad / STABLE for _, bad in run[:minute]]
        if _is_high(ours, theirs):
            return minute
    return 0


def _is_high(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """The lower end of the interval is where the rank sum, corrected, is `_Z98` deviations over
    its mean; the shift is where it is at its mean. Both fall as the shift that is taken grows. With
    few points the interval is `whole`: it begins at the least difference of two of them."""
    if sum(ours) <= sum(theirs):
        return False
    low, high = min(ours) - max(theirs), max(ours) - min(theirs)
    whole = _deviations(ours, theirs, low) <= _Z98
    if low <= 0 if whole else _deviations(ours, theirs, 0.0) <= _Z98:
        return False
    lower = low
    for _ in range(10):
        middle = (low + high) / 2
        if _deviations(ours, theirs, middle) > 0:
            low = middle
        else:
            high = middle
    tolerated = (low + high) / 8
    return lower > tolerated if whole else _deviations(ours, theirs, tolerated) > _Z98


def _deviations(ours: Sequence[float], theirs: Sequence[float], shift: float) -> float:
    """The rank sum of `ours` less `shift`, in standard deviations from its mean."""
    moved = [value - shift for value in ours]
    sizes = Counter([*moved, *theirs])
    ranks, before = dict[float, float](), 0
    for value in sorted(sizes):
        ranks[value] = before + (sizes[value] + 1) / 2
        before += sizes[value]
    n, m = len(ours), len(theirs)
    off = sum(ranks[value] for value in moved) - n * (n + m + 1) / 2
    tied = sum(size**3 - size for size in sizes.values()) / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - tied)
    if variance <= 0 or not off:
        return 0.0
    return (off - math.copysign(0.5, off)) / math.sqrt(variance)
