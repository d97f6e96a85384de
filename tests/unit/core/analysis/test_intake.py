import pytest

from stackd.core.analysis.intake import CALM, block_size, take
from stackd.core.model.analysis import AnalysisPolicy, Compare, Window
from stackd.core.model.ids import RevisionId
from tests.unit.core.analysis.cases import block, blocks, started

POLICY = AnalysisPolicy(warm_up=0)


@pytest.mark.parametrize(
    ("requests", "errors", "size"),
    [(0, 0, 10), (1000, 0, 10), (1000, 5, 10), (1000, 50, 4), (1000, 150, 1), (10, 10, 1)],
)
def test_blocks_are_small_where_errors_are_frequent(requests: int, errors: int, size: int) -> None:
    assert block_size(requests, errors) == size
    assert 1 - (1 - errors / max(1, requests)) ** size <= 0.2 or size == 1


def test_a_block_counts_once_and_in_any_order() -> None:
    first = take(started(), POLICY, [block(2, 1), block(1), block(2, 1)], 10)
    assert first.errors == Window(canary=2, canary_bad=1)
    again = take(first.state, POLICY, [block(1, 1), block(2, 1), block(5)], 20)
    assert again.errors == Window(canary=1)
    assert again.state.canary_tally.blocks == 3


def test_other_revisions_and_empty_blocks_are_not_looked_at() -> None:
    odd = [block(1, revision=RevisionId("older")), block(2, requests=0)]
    found = take(started(), POLICY, odd, 10)
    assert found.errors == Window()
    assert found.state.seen == {}


def test_each_new_task_of_the_canary_is_cold_for_itself() -> None:
    policy = AnalysisPolicy(warm_up=30)
    late = [block(n, instance="c2", since=100.0 + n) for n in range(1, 60)]
    found = take(started(), policy, [*blocks(60), *late], 200)
    # c1 from second 31 on (its first block begins at 1), c2 from 131 on.
    assert found.errors.canary == 30 + 29
    assert found.state.logged.requests == 10 * (60 + 59)


def test_stable_is_judged_from_the_end_of_the_warm_up() -> None:
    found = take(started(), AnalysisPolicy(warm_up=30), blocks(60, canary=False), 200)
    assert found.errors.stable == 31


def test_what_is_slow_is_frozen_before_anything_is_called_slow() -> None:
    calm = tuple(block(n, canary=False, latency=0.1 + n / 1000) for n in range(1, CALM + 1))
    first = take(started(), POLICY, calm, 10)
    assert first.latency == Window()
    assert first.state.slow_over == pytest.approx(0.127)  # the 27th of 30
    assert first.state.calm == ()
    new = [
        block(1, latency=0.19),
        block(2, latency=0.2),  # over 1.5 x 0.127
        block(CALM + 1, canary=False, latency=0.126),
        block(CALM + 2, canary=False, latency=0.128),
    ]
    second = take(first.state, POLICY, new, 20)
    assert second.latency == Window(canary=2, canary_bad=1, stable=2, stable_bad=1)
    assert second.state.slow_over == first.state.slow_over


def test_latency_is_left_alone_where_it_is_not_compared() -> None:
    policy = AnalysisPolicy(compare=Compare(latency=None), warm_up=0)
    found = take(started(), policy, blocks(CALM, canary=False, latency=1.0), 10)
    assert (found.state.slow_over, found.state.calm) == (None, ())
