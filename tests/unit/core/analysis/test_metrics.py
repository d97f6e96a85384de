"""Limits: each share of a toggle is a test of its own, all of them together as sure as one."""

from msgspec.structs import replace

from stackd.core.analysis import begin, metrics
from stackd.core.model.analysis import AnalysisPolicy, Compare, Limits, Tally
from stackd.core.model.ids import RevisionId

LIMITED = AnalysisPolicy(
    compare=Compare(error_ratio=None, latency=None),
    limits=Limits(error_rate=0.05, latency_p99=None),
)
FRESH = begin(RevisionId("new"), RevisionId(""), 0.0, background=True)


def needed(shares: int) -> int:
    """After how many blocks, of which each has two errors in ten, the limit is surely broken."""
    for blocks in range(1, 1_000):
        tally = Tally(requests=10 * blocks, errors=2 * blocks, blocks=blocks, bad=blocks)
        if metrics.failed(LIMITED, replace(FRESH, shares=shares, canary_tally=tally)):
            return blocks
    raise AssertionError("never")


def test_every_further_share_needs_more_to_be_taken_back() -> None:
    found = [needed(shares) for shares in range(100)]
    assert found == sorted(found)
    assert found[0] < found[4] < found[99] < 3 * found[0]
