"""How often a canary is taken back, and when, by stackd's test and by the rules others use.

The figures of `docs/analysis.md`: 2,000 runs; canary 60 requests a minute, 5 % of the traffic; one
look a minute for 15 minutes, or every 10 s. Here with fewer runs, and as many with
`--hypothesis-profile deep`.
"""

import math
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import settings

from tests.properties.rules import (
    EACH_10_S,
    INSTANCES,
    Burst,
    Pace,
    Rule,
    bayes,
    cell,
    differing,
    disjoint,
    fisher,
    in_blocks,
    mixture,
    promotion,
    recordings,
    shifted,
    sprt,
    threshold,
)

SCENES = {
    "same 0.5 %": (0.005, 0.005),
    "same 0.05 %": (0.0005, 0.0005),
    "0.5 to 2 %": (0.02, 0.005),
    "0.5 to 5 %": (0.05, 0.005),
    "0.05 to 1 %": (0.01, 0.0005),
}
PUBLISHED = 2_000
"""Runs behind each figure."""

Row = tuple[tuple[float, float | None], ...]
"""For each scene the share taken back and, where it is known, the median minute."""
TABLE: dict[str, tuple[Rule, Row]] = {
    "99 % success, no miss": (
        threshold(1),
        ((0.989, None), (0.36, None), (1.0, 1), (1.0, 1), (1.0, 2)),
    ),
    "99 % success, 5 misses": (
        threshold(5),
        ((0.34, None), (0, None), (1.0, 7), (1.0, 5), (0.88, 10)),
    ),
    "99 % success, 10 misses": (
        threshold(10),
        ((0.002, None), (0, None), (0.72, 13), (1.0, 10), (0.08, 14)),
    ),
    "Kayenta on each minute's rate": (
        shifted,
        ((0.002, None), (0, None), (0.47, 8), (0.99, 5), (0.045, None)),
    ),
    "Fisher at 5 %": (
        fisher(0.05),
        ((0.11, None), (0.04, None), (0.99, 3), (1.0, 1), (0.998, 3)),
    ),
    "Bayes at 95 %": (
        bayes(0.95),
        ((0.20, None), (0.16, None), (0.996, 2), (1.0, 1), (0.999, 2)),
    ),
    "Wilson 95 % disjoint": (
        disjoint(0.95),
        ((0.054, None), (0.033, None), (0.98, 3), (1.0, 1), (0.996, 3)),
    ),
    "Wilson 99 % disjoint": (
        disjoint(0.99),
        ((0.01, None), (0.004, None), (0.95, 5), (1.0, 2), (0.98, 5)),
    ),
    "SPRT": (sprt, ((0.0035, None), (0, None), (0.93, 7), (1.0, 2), (0.89, 8))),
    "mixture 1 %": (
        mixture(0.01),
        ((0.0015, None), (0.0005, None), (0.86, 7), (1.0, 2), (0.95, 6)),
    ),
    "mixture 5 %": (
        mixture(0.05),
        ((0.011, None), (0.0055, None), (0.95, 5), (1.0, 2), (0.98, 5)),
    ),
    "promoted": (promotion, ((0.72, 9), (0, None), (0.003, None), (0, None), (0, None))),
}


OFTEN: dict[str, tuple[Callable[[Pace], Rule], tuple[float, ...]]] = {
    "z-test at 5 %": (differing, (0.24, 0.33, 0.42)),
    "Wilson 95 % disjoint": (partial(disjoint, 0.95), (0.07, 0.10, 0.15)),
    "Wilson 99 % disjoint": (partial(disjoint, 0.99), (0.012, 0.02, 0.029)),
    "mixture 5 %": (partial(mixture, 0.05), (0.013, 0.021, 0.029)),
    "mixture 1 %": (partial(mixture, 0.01), (0.002, 0.004, 0.006)),
}
"""A look every 10 s at a canary that is no worse: the share taken back after `HORIZONS`."""
HORIZONS = (90, 360, 2_160)
"""Looks: a quarter of an hour, an hour, six hours."""
BURSTS = {
    "same 0.2 %, a burst each 2 minutes": (Burst(0.002, 0.002, 0.5), (0.117, 0.002), None),
    "same 0.2 %, 2 bursts a minute": (Burst(0.002, 0.002, 2.0), (0.227, 0.0013), None),
    "0.5 to 2 %": (Burst(0.02, 0.005), (0.87, 0.81), (6.3, 7.3)),
    "0.5 to 5 %": (Burst(0.05, 0.005), (1.0, 1.0), (1.7, 2.2)),
    "0.05 to 1 %": (Burst(0.01, 0.0005), (0.957, 0.94), (None, 5.8)),
    "0.5 to 50 %": (Burst(0.5, 0.005), (1.0, 1.0), (None, 40 / 60)),
}
"""Share taken back and median minute, by single requests and by blocks. The bursts are only like
those of the figures, so that these are held to half more or less."""


def deep() -> bool:
    return settings().max_examples > 100


def runs() -> int:
    return PUBLISHED if deep() else 500


def noise(share: float, count: int) -> float:
    """Four standard deviations of the difference of two such shares, and their rounding."""
    own = max(share * (1 - share), 1 / count)
    return 4 * math.sqrt(own / count + own / PUBLISHED) + 0.005


@pytest.mark.parametrize("scene", SCENES)
def test_the_table_is_reproduced(scene: str) -> None:
    place = list(SCENES).index(scene)
    minutes = recordings(*SCENES[scene], runs(), seed=place)
    wrong = []
    for name, (rule, row) in TABLE.items():
        share, minute = row[place]
        found = cell(rule, minutes)
        if abs(found.share - share) > noise(share, len(minutes)):
            wrong.append(f"{name}: {found.share:.2%} instead of {share:.2%}")
        if minute is not None and abs(found.minute - minute) > 1:
            wrong.append(f"{name}: minute {found.minute} instead of {minute}")
    assert wrong == []


def test_looking_every_10_seconds_breaks_every_bound_but_that_of_the_mixture() -> None:
    known = HORIZONS if deep() else HORIZONS[:1]
    pace = Pace(EACH_10_S.canary, EACH_10_S.stable, known[-1])
    minutes = recordings(0.005, 0.005, runs() // 3, seed=1, pace=pace)
    wrong = []
    for name, (rule, row) in OFTEN.items():
        looks = [look for run in minutes if (look := rule(pace)(run))]
        for horizon, share in zip(known, row[: len(known)], strict=True):
            found = sum(look <= horizon for look in looks) / len(minutes)
            if abs(found - share) > noise(share, len(minutes)):
                wrong.append(f"{name}, {horizon} looks: {found:.2%} instead of {share:.2%}")
    assert wrong == []


@pytest.mark.parametrize("scene", BURSTS)
def test_blocks_are_not_misled_by_bursts_and_hardly_slower(scene: str) -> None:
    what, shares, minutes = BURSTS[scene]
    played = list(in_blocks(what, runs() // (1 if deep() else 5), seed=1))
    single = [[requests for requests, _ in run] for run in played]
    whole = [[blocks for _, blocks in run] for run in played]
    block = Pace(1, INSTANCES - 1, EACH_10_S.looks)
    by = (cell(mixture(0.01, EACH_10_S), single), cell(mixture(0.01, block), whole))
    for found, share in zip(by, shares, strict=True):
        rough = share / 2 if what.bursts else 0.0
        assert abs(found.share - share) <= noise(share, len(played)) + rough
    for found, minute in zip(by, minutes or (), strict=False):
        assert minute is None or abs(found.minute / 6 - minute) <= 1
    if what.bursts:
        assert by[1].share < 0.01 < 0.05 < by[0].share
