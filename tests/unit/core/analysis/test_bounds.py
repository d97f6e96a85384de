import math

import pytest

from stackd.core.analysis import bounds
from stackd.core.model.analysis import Window


def test_the_default_limit_is_confirmed_by_200_requests_without_error() -> None:
    assert bounds.below(0.05, 0, 200, 0.01)
    assert not bounds.below(0.05, 0, 100, 0.01)
    assert bounds.upper(0, 200, 0.01) == pytest.approx(0.0384, abs=0.0005)


def test_above_and_below_exclude_each_other() -> None:
    assert bounds.above(0.05, 40, 200, 0.01)
    assert not bounds.below(0.05, 40, 200, 0.01)
    assert not bounds.above(0.05, 10, 200, 0.01)
    assert not bounds.below(0.05, 10, 200, 0.01)
    assert not bounds.above(0.05, 0, 0, 0.01)


def test_the_upper_bound_is_where_below_begins() -> None:
    found = bounds.upper(3, 400, 0.01)
    assert bounds.below(found + 1e-6, 3, 400, 0.01)
    assert not bounds.below(found - 1e-6, 3, 400, 0.01)
    assert bounds.upper(0, 0, 0.01) == 1


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_evidence_against_the_true_rate_has_a_mean_of_1(rate: float) -> None:
    """Over all 2**12 outcomes of 12 requests."""
    total = sum(
        math.comb(12, bad)
        * rate**bad
        * (1 - rate) ** (12 - bad)
        * math.exp(bounds.log_e(rate, bad, 12))
        for bad in range(13)
    )
    assert total == pytest.approx(1)


def test_wilson() -> None:
    found = bounds.wilson(10, 100)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.0460, 0.2037), abs=5e-4)
    assert bounds.wilson(0, 0).high == 1
    assert bounds.wilson(0, 50).low == 0


def test_the_ratio_lies_between_its_bounds() -> None:
    found = bounds.ratio(Window(canary=100, canary_bad=20, stable=1000, stable_bad=20))
    assert found is not None
    assert found.value == pytest.approx(10)
    assert found.low < 5 < 10 < 20 < found.high
    alone = bounds.ratio(Window(canary=100, canary_bad=2, stable=1000))
    assert alone is not None
    assert alone.high == math.inf
    assert bounds.ratio(Window(canary=100, stable=1000)) is None
