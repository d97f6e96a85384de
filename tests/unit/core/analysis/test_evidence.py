import math
from itertools import product

import pytest

from stackd.core.analysis.evidence import (
    drift,
    gain,
    is_fine,
    is_worse,
    leans_worse,
    log_worse,
    weighed,
)
from stackd.core.model.analysis import Evidence, Window


def test_the_gain_is_the_likelihood_ratio_of_the_split() -> None:
    """One bad block, the canary's share 1 in 5, ratio 3: 3/7 instead of 1/5."""
    ours = Window(canary=1, canary_bad=1, stable=4)
    assert gain(3.0, ours) == pytest.approx(math.log((3 / 7) / (1 / 5)))
    theirs = Window(canary=1, stable=4, stable_bad=1)
    assert gain(3.0, theirs) == pytest.approx(math.log((4 / 7) / (4 / 5)))


@pytest.mark.parametrize("bad", range(1, 6))
def test_the_mean_of_e_is_at_most_1_for_an_equal_canary(bad: int) -> None:
    """Every way in which `bad` of 8 blocks may fall, 3 of them the canary's."""
    total = 0.0
    ways = [way for way in product((0, 1), repeat=8) if sum(way) == bad]
    for way in ways:
        window = Window(canary=3, canary_bad=sum(way[:3]), stable=5, stable_bad=sum(way[3:]))
        total += math.exp(log_worse(weighed(Evidence(), window, 3.0)))
    assert total / len(ways) <= 1 + 1e-12


def test_a_window_stays_open_until_both_sides_have_blocks() -> None:
    first = weighed(Evidence(), Window(stable=4, stable_bad=1), 3.0)
    assert first.worse == Evidence().worse
    assert first.open == Window(stable=4, stable_bad=1)
    parts = weighed(first, Window(canary=1), 3.0)
    whole = weighed(Evidence(), Window(canary=1, stable=4, stable_bad=1), 3.0)
    assert parts == whole


def test_no_bad_block_says_nothing() -> None:
    assert weighed(Evidence(), Window(canary=9, stable=9), 3.0) == Evidence()
    assert not leans_worse(Evidence())


def test_verdicts() -> None:
    bad = weighed(Evidence(), Window(canary=20, canary_bad=10, stable=200, stable_bad=2), 3.0)
    assert is_worse(bad)
    assert leans_worse(bad)
    good = weighed(Evidence(), Window(canary=100, canary_bad=2, stable=1900, stable_bad=100), 3.0)
    assert is_fine(good)
    assert not is_worse(good)


def test_the_drift_is_the_growth_under_no_worse() -> None:
    window = Window(canary=100, canary_bad=5, stable=1900, stable_bad=95)
    grown = weighed(Evidence(), window, 3.0).fine / 100
    assert drift(window, 3.0) == pytest.approx(grown)
    assert drift(Window(canary=5), 3.0) == 0
