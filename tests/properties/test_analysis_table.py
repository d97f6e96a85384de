"""How often a canary is taken back, and when, by stackd's test and by the rules others use.

The figures of `docs/analysis.md`: 2,000 runs; canary 60 requests a minute, 5 % of the traffic; one
look a minute for 15 minutes. Here with fewer runs, and as many with `--hypothesis-profile deep`.
"""

import math

import pytest
from hypothesis import settings

from tests.properties.rules import (
    Rule,
    bayes,
    cell,
    disjoint,
    fisher,
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


def runs() -> int:
    return PUBLISHED if settings().max_examples > 100 else 500


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
