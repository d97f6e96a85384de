"""Cuts what agents send into the blocks that a policy asks for.

Called by the analyses loop. A block of an analysis may be smaller than a batch, where errors are
frequent; it divides it, so that nothing is kept over from one batch to the next.
"""

import math

from stackd.core.analysis.intake import block_size
from stackd.core.model.analysis import AnalysisPolicy, Block
from stackd.core.model.requests import BATCH, Batch

_SIZES = tuple(size for size in range(BATCH, 0, -1) if BATCH % size == 0)


def size(requests: int, errors: int) -> int:
    """How many requests a block holds, from stable's counts before the analysis."""
    wanted = block_size(requests, errors)
    return next(fitting for fitting in _SIZES if fitting <= wanted)


def cut(policy: AnalysisPolicy, batch: Batch, held: int) -> list[Block]:
    """The batch in blocks of `held` requests."""
    latency, limit = policy.compare.latency, policy.limits.latency_p99
    quantile = latency.quantile if latency is not None else 1.0
    found = []
    for start in range(0, len(batch.seconds), held):
        mine = sorted(batch.seconds[start : start + held])
        rank = max(1, math.ceil(quantile * len(mine) - 1e-9))
        found.append(
            Block(
                instance=batch.instance,
                revision=batch.revision,
                sequence=batch.sequence * BATCH + start // held,
                since=batch.since,
                requests=len(mine),
                errors=sum(start <= number < start + held for number in batch.failed),
                turned=sum(start <= number < start + held for number in batch.turned),
                latency=mine[rank - 1],
                seconds=tuple(mine),
                over=0 if limit is None else sum(took > limit for took in mine),
            )
        )
    return found


def last(batch: Batch, held: int) -> int:
    """The sequence of the last block that `cut` makes of it."""
    return batch.sequence * BATCH + (len(batch.seconds) - 1) // held
