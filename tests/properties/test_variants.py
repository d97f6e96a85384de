"""A/B by seed: equal variants are hardly ever told apart, however often one looks; others are.

50 seeds here, 1,000 with `--hypothesis-profile deep`.
"""

import pytest
from hypothesis import settings

from stackd.core.model.variants import GoalVerdict
from tests.properties.users import shopped


def seeds() -> int:
    return 1_000 if settings().max_examples > 100 else 50


@pytest.mark.parametrize("rate", [0.04, 0.3])
def test_equal_variants_get_a_verdict_in_1_percent_at_most(rate: float) -> None:
    verdicts = [shopped(seed, rate, rate)[0] for seed in range(seeds())]
    decided = sum(verdict is not GoalVerdict.INCONCLUSIVE for verdict in verdicts)
    # Four standard deviations above the bound.
    assert decided <= 0.01 * seeds() + 4 * (0.01 * seeds()) ** 0.5


@pytest.mark.parametrize(
    ("target", "verdict"), [(0.06, GoalVerdict.BETTER), (0.025, GoalVerdict.WORSE)]
)
def test_what_differs_by_half_is_found_and_never_the_other_way_round(
    target: float, verdict: GoalVerdict
) -> None:
    found = [shopped(seed, 0.04, target)[0] for seed in range(seeds() // 2)]
    assert found.count(verdict) >= 0.9 * len(found)
    assert set(found) <= {verdict, GoalVerdict.INCONCLUSIVE}
