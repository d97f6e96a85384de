"""Made traffic of a canary and its stable instances, block by block, in virtual time.

Requests come at random (exponential gaps), errors and latencies too; a seed gives the same
traffic each time. Bursts hit one random instance, as a failing neighbour or a bad connection does;
outages hit every request, as a database that all need does.
"""

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb, exp
from statistics import NormalDist

from msgspec.structs import replace

from stackd.core.analysis import begin, look
from stackd.core.model.analysis import (
    AnalysisPolicy,
    AnalysisState,
    Block,
    Judgement,
    Observed,
)
from stackd.core.model.ids import RevisionId

NEW, OLD = RevisionId("new"), RevisionId("old")
SIZE = 10
OUTAGE, STALLED = 1.0, 3.0
"""Seconds."""
_SPREAD = NormalDist(0.0, 0.5)


@dataclass(frozen=True)
class Side:
    """Instances of one revision, each with `rate` requests a second."""

    instances: int = 1
    rate: float = 1.0
    errors: float = 0.0
    median: float = 0.05
    """Seconds; latencies are log-normal."""


@dataclass(frozen=True)
class Scene:
    """One canary situation."""

    canary: Side
    stable: Side
    bursts: float = 0.0
    """A minute, over all instances; about 6 errors each."""
    outages: float = 0.0
    """A minute; all that is asked within a second fails."""
    stalls: bool = False
    """What would fail takes `STALLED` seconds instead."""


def counts(chance: float, trials: int) -> list[float]:
    """The cumulative binomial distribution, to draw from by bisection."""
    each = (comb(trials, n) * chance**n * (1 - chance) ** (trials - n) for n in range(trials))
    return [*accumulate(each), 1.1]


class Traffic:
    """Blocks of a scene as they are completed."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._random = random.Random(seed)
        self._scene = scene
        self._instances = [
            _Instance(f"{name}{n}", revision, side, self._random)
            for name, revision, side in (("c", NEW, scene.canary), ("s", OLD, scene.stable))
            for n in range(side.instances)
        ]
        self._burst = self._random.expovariate(scene.bursts / 60) if scene.bursts else 1e18
        self._next = self._random.expovariate(scene.outages / 60) if scene.outages else 1e18
        self._outages: list[float] = []

    def until(self, now: float) -> tuple[Block, ...]:
        """The blocks completed since the last call."""
        while self._burst <= now:
            self._random.choice(self._instances).burst += self._random.randint(3, 9)
            self._burst += self._random.expovariate(self._scene.bursts / 60)
        while self._next <= now:
            self._outages.append(self._next)
            self._next += OUTAGE + self._random.expovariate(self._scene.outages / 60)
        found = (block for one in self._instances for block in one.until(now, self._outages))
        return tuple(_stalled(block) if self._scene.stalls else block for block in found)


class _Instance:
    def __init__(self, name: str, revision: RevisionId, side: Side, source: random.Random) -> None:
        self._name, self._revision, self._side, self._random = name, revision, side, source
        self._errors = counts(side.errors, SIZE)
        self._since, self._sequence, self.burst = 0.0, 0, 0
        # The first block is caught in its middle: instances do not march in step.
        self._done = source.gammavariate(SIZE, 1 / side.rate) * source.random()

    def until(self, now: float, outages: Sequence[float]) -> Iterator[Block]:
        while self._done <= now:
            self._sequence += 1
            errors = bisect_left(self._errors, self._random.random())
            if out := _overlap(self._since, self._done, outages):
                errors += sum(self._random.random() < out for _ in range(SIZE - errors))
            extra = min(self.burst, SIZE - errors)
            self.burst -= extra
            slowest = _SPREAD.inv_cdf(self._random.random() ** (1 / SIZE))
            yield Block(
                instance=self._name,
                revision=self._revision,
                sequence=self._sequence,
                since=self._since,
                requests=SIZE,
                errors=errors + extra,
                latency=self._side.median * exp(slowest),
            )
            self._since = self._done
            self._done += self._random.gammavariate(SIZE, 1 / self._side.rate)


def _stalled(block: Block) -> Block:
    """The same block with slow requests in the place of errors."""
    each = (STALLED,) * block.errors or (block.latency,)
    rest = (block.latency / 2,) * (SIZE - len(each))
    return replace(block, errors=0, latency=max(each), seconds=(*rest, *each))


def _overlap(since: float, until: float, outages: Sequence[float]) -> float:
    """The share of a time that outages take."""
    first = bisect_left(outages, since - OUTAGE)
    parts = (min(until, at + OUTAGE) - max(since, at) for at in outages[first:])
    return sum(part for part in parts if part > 0) / (until - since)


@dataclass(frozen=True)
class Played:
    """How an analysis of a scene ended, and after how many seconds."""

    judgement: Judgement
    seconds: float
    state: AnalysisState


def play(policy: AnalysisPolicy, scene: Scene, seed: int, until: float = 1e9) -> Played:
    """Look every interval until the verdict is final, or `until` has passed."""
    traffic = Traffic(scene, seed)
    state, now = begin(NEW, OLD, 0.0), 0.0
    while True:
        now += policy.interval
        found = look(policy, state, Observed(blocks=traffic.until(now)), now)
        state = found.state
        if found.wake_at is None or now >= until:
            return Played(found.judgement, now, state)
