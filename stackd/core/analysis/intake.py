"""Takes in blocks: each once, none of a cold task, into the windows of this look.

Called by `look`. Nothing is weighed here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from stackd.core.model.analysis import (
    AnalysisPolicy,
    AnalysisState,
    Block,
    Counters,
    Seen,
    Tally,
    Window,
)

BLOCK = 10
"""Requests of a block unless errors are frequent."""
BAD_AT_MOST = 0.2
"""Share of bad blocks beyond which their ratio says too little."""
CALM = 30
"""Blocks of stable of which the bound of slow blocks is made, at least."""
CALM_AT_MOST = 500
CALM_QUANTILE = 0.9
NEVER_SLOW = 0.005
"""A block up to this latency is never slow: proxies log whole milliseconds."""


def block_size(requests: int, errors: int) -> int:
    """How many requests a block should hold, from stable's counts before the analysis.

    10, so that a burst of errors counts once; fewer where errors are so frequent that more than
    one block in 5 would be bad.
    """
    rate = errors / requests if requests else 0.0
    if rate <= 0:
        return BLOCK
    if rate >= BAD_AT_MOST:
        return 1
    return max(1, min(BLOCK, int(math.log(1 - BAD_AT_MOST) / math.log(1 - rate))))


@dataclass
class _Sums:
    """What is being counted of one side."""

    tally: Tally
    blocks: list[Block] = field(default_factory=list)

    def total(self, slow: int, timed: bool) -> Tally:
        """The tally with the blocks of this look."""
        return Tally(
            requests=self.tally.requests + sum(b.requests for b in self.blocks),
            errors=self.tally.errors + sum(b.errors for b in self.blocks),
            over=self.tally.over + sum(b.over for b in self.blocks),
            blocks=self.tally.blocks + len(self.blocks),
            bad=self.tally.bad + self.bad,
            turned=self.tally.turned + sum(b.turned for b in self.blocks),
            turned_blocks=self.tally.turned_blocks + self.turned,
            timed=self.tally.timed + (len(self.blocks) if timed else 0),
            slow=self.tally.slow + slow,
            over_blocks=self.tally.over_blocks + sum(1 for b in self.blocks if b.over),
        )

    @property
    def bad(self) -> int:
        """Blocks of this look with an error."""
        return sum(1 for block in self.blocks if block.errors)

    @property
    def turned(self) -> int:
        """Blocks of this look with a request that was turned away."""
        return sum(1 for block in self.blocks if block.turned)

    def slower(self, bound: float) -> int:
        """Blocks of this look above `bound` seconds."""
        return sum(1 for block in self.blocks if block.latency > bound)

    def slower_singly(self, bound: float) -> tuple[int, int]:
        """Requests of this look, and those above `bound` seconds. A block of which only its own
        latency is known counts as one."""
        each = [took for block in self.blocks for took in block.seconds or (block.latency,)]
        return len(each), sum(1 for took in each if took > bound)


@dataclass(frozen=True)
class Intake:
    """The state with the blocks counted, and the windows to weigh."""

    state: AnalysisState
    errors: Window
    latency: Window
    """Empty while it is not known what is slow."""
    latency_singly: Window
    turned: Window


@dataclass
class _Fresh:
    seen: dict[str, Seen]
    canary: list[Block]
    stable: list[Block]
    logged: list[Block]
    """Of the canary, cold ones too."""
    calm: tuple[float, ...]


def _fresh(state: AnalysisState, policy: AnalysisPolicy, blocks: Iterable[Block]) -> _Fresh:
    """The blocks not seen before, by side."""
    found = _Fresh(dict(state.seen), [], [], [], state.calm)
    for block in sorted(blocks, key=lambda b: (b.sequence, b.instance)):
        if block.revision not in (state.canary, state.stable) or block.requests < 1:
            continue
        ours = block.revision == state.canary
        seen = found.seen.get(block.instance)
        if seen is None:
            first = max(state.started, block.since) if ours else state.started
            seen = Seen(sequence=block.sequence - 1, judged_from=first + policy.warm_up)
        if block.sequence <= seen.sequence:
            continue
        found.seen[block.instance] = replace(seen, sequence=block.sequence)
        if ours:
            found.logged.append(block)
        elif state.slow_over is None:
            found.calm = (*found.calm, block.latency)[-CALM_AT_MOST:]
        if block.since >= seen.judged_from:
            (found.canary if ours else found.stable).append(block)
    return found


def take(
    state: AnalysisState, policy: AnalysisPolicy, blocks: Iterable[Block], now: float
) -> Intake:
    """Count the blocks that are new. Those of other revisions are not looked at."""
    fresh = _fresh(state, policy, blocks)
    canary, stable = (
        _Sums(state.canary_tally, fresh.canary),
        _Sums(state.stable_tally, fresh.stable),
    )
    timed = policy.compare.latency is not None and state.slow_over is not None
    sizes = {"canary": len(fresh.canary), "stable": len(fresh.stable)}
    slow = singly = Window()
    if policy.compare.latency is not None and state.slow_over is not None:
        over = (state.slow_over * policy.compare.latency.max_ratio, state.slow_over)
        bad = {"canary_bad": canary.slower(over[0]), "stable_bad": stable.slower(over[1])}
        slow = Window(**sizes, **bad)
        ours, theirs = canary.slower_singly(over[0]), stable.slower_singly(over[1])
        singly = Window(canary=ours[0], canary_bad=ours[1], stable=theirs[0], stable_bad=theirs[1])
    errors = Window(**sizes, canary_bad=canary.bad, stable_bad=stable.bad)
    turned = Window(**sizes, canary_bad=canary.turned, stable_bad=stable.turned)
    logged = Counters(
        requests=state.logged.requests + sum(b.requests for b in fresh.logged),
        errors=state.logged.errors + sum(b.errors for b in fresh.logged),
    )
    bound = _bound(state, policy, fresh.calm, now)
    counted = replace(
        state,
        canary_tally=canary.total(slow.canary_bad, timed),
        stable_tally=stable.total(slow.stable_bad, timed),
        seen=fresh.seen,
        calm=() if bound is not None or policy.compare.latency is None else fresh.calm,
        slow_over=bound,
        logged=logged,
    )
    return Intake(counted, errors, slow, singly, turned)


def _bound(
    state: AnalysisState, policy: AnalysisPolicy, calm: tuple[float, ...], now: float
) -> float | None:
    """What 9 of 10 of stable's blocks do not exceed; known from the look on that follows.

    Any bound keeps the test honest, because both sides are held against it over the same window;
    a good one makes it sharp."""
    if state.slow_over is not None or policy.compare.latency is None:
        return state.slow_over
    if len(calm) < CALM or now < state.started + policy.warm_up:
        return None
    rank = math.ceil(CALM_QUANTILE * len(calm))
    return max(NEVER_SLOW, sorted(calm)[rank - 1])
