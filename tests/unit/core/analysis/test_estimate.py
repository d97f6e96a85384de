import pytest

from stackd.core.analysis.bounds import below
from stackd.core.analysis.estimate import span, until_below, words
from stackd.core.model.analysis import Estimate, Tally


@pytest.mark.parametrize("errors", [0, 2, 10])
def test_the_bound_is_under_the_limit_after_so_many_requests(errors: int) -> None:
    tally = Tally(requests=300, errors=errors, blocks=30)
    more = until_below(0.05, tally)
    assert more is not None
    rate, count = errors / 300, 300 + more
    assert below(0.05, rate * count, count, 0.01)
    assert more == 0 or not below(0.05, rate * 0.9 * count, 0.9 * count, 0.01)


def test_a_canary_at_its_limit_never_gets_there() -> None:
    assert until_below(0.05, Tally(requests=100, errors=5, blocks=10)) is None
    assert until_below(None, Tally()) is None


def test_words() -> None:
    assert words(Estimate(requests=1900, seconds=720.0)) == (
        "about 1,900 more requests, 12m at this rate"
    )
    assert words(Estimate(requests=5)) == "about 5 more requests"
    assert words(Estimate()) == words(Estimate(requests=0)) == ""
    assert [span(s) for s in (5, 600, 9000, 864000)] == ["5s", "10m", "2.5h", "10d"]
