"""What a strategy's numbers come to."""

import pytest

from stackd.core.model.strategy import Amount, Strategy


@pytest.mark.parametrize(
    ("surge", "unavailable", "total", "expected"),
    [
        (Amount(value=1), Amount(value=0), 3, (1, 0)),
        (Amount(value=0), Amount(value=0), 3, (0, 1)),
        (Amount(value=25, percent=True), Amount(value=25, percent=True), 10, (3, 2)),
        (Amount(value=0), Amount(value=10, percent=True), 3, (0, 1)),
        (Amount(value=0), Amount(value=5), 3, (0, 3)),
    ],
)
def test_never_both_limits_are_0(
    surge: Amount, unavailable: Amount, total: int, expected: tuple[int, int]
) -> None:
    policy = Strategy(max_surge=surge, max_unavailable=unavailable)
    assert policy.limits(total) == expected
