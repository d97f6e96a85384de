"""Batches of the agents as blocks of a policy."""

import pytest

from stackd.core.analysis import blocks
from stackd.core.model.analysis import AnalysisPolicy, Compare, LatencyRatio, Limits
from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Batch

BATCH = Batch(
    stack="shop",
    service="web",
    revision=RevisionId("r1"),
    instance="t1@n1",
    sequence=7,
    since=100.0,
    seconds=(0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.05),
    failed=(0, 9),
    turned=(1, 2, 8),
)


def test_a_batch_is_one_block_by_the_policys_quantile_and_limit() -> None:
    policy = AnalysisPolicy(
        compare=Compare(latency=LatencyRatio(quantile=0.5)), limits=Limits(latency_p99=0.65)
    )
    (found,) = blocks.cut(policy, BATCH, 10)
    assert (found.requests, found.errors, found.latency, found.over) == (10, 2, 0.4, 3)
    assert (found.instance, found.revision, found.since) == ("t1@n1", "r1", 100.0)
    assert found.sequence == blocks.last(BATCH, 10)


@pytest.mark.parametrize("held", [1, 2, 5])
def test_smaller_blocks_hold_the_same_requests_in_order(held: int) -> None:
    found = blocks.cut(AnalysisPolicy(), BATCH, held)
    assert [b.requests for b in found] == [held] * (10 // held)
    assert sum(b.errors for b in found) == 2
    assert found[0].errors == found[-1].errors == 1
    assert sum(b.turned for b in found) == 3
    sequences = [b.sequence for b in found]
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == blocks.last(BATCH, held)
    later = blocks.cut(AnalysisPolicy(), BATCH, held)[0].sequence + 10
    assert later > sequences[-1]


def test_the_tail_is_the_slowest_of_a_block() -> None:
    (found,) = blocks.cut(AnalysisPolicy(limits=Limits(latency_p99=None)), BATCH, 10)
    assert (found.latency, found.over) == (0.9, 0)


def test_sizes_divide_a_batch() -> None:
    assert [blocks.size(1000, errors) for errors in (0, 10, 25, 40, 60, 120, 300)] == [
        10,
        10,
        5,
        5,
        2,
        1,
        1,
    ]
