"""What was measured of traffic that moves, beside what it must reach. Used by
`tests.soak.figures`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from examples.demo.load import Tally

SPREAD = 0.2
"""Seconds between the nodes that switch first and last."""
ABORT = 0.5
"""Seconds from an abort to the last request that was sent to the bad revision."""
ROLLBACK = 1.0
"""Seconds until a warm revision has all requests again."""
SIGMAS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table."""

    line: str
    goal: str
    measured: str
    sent: int
    lost: int
    reached: bool

    @property
    def good(self) -> bool:
        """Within its bound, and nothing lost."""
        return self.reached and not self.lost


@dataclass(frozen=True, slots=True)
class Weight:
    """What a canary got while its weight was `percent`."""

    percent: float
    replicas: int
    tallies: Mapping[str, Tally]
    version: str
    """That of the canary."""
    seconds: float

    @property
    def answered(self) -> int:
        return sum(tally.answered for tally in self.tallies.values())

    @property
    def share(self) -> float:
        """Of the answers."""
        hits = sum(tally.versions[self.version] for tally in self.tallies.values())
        return hits / self.answered if self.answered else math.nan

    @property
    def sigma(self) -> float:
        """The standard deviation of the share, when every request is dealt by itself."""
        p = self.percent / 100
        return math.sqrt(p * (1 - p) / self.answered) if self.answered else math.nan

    @property
    def z(self) -> float:
        """How far off it is, in standard deviations."""
        return (self.share - self.percent / 100) / self.sigma

    @property
    def figure(self) -> Figure:
        count = "1 replica" if self.replicas == 1 else f"{self.replicas} replicas"
        sent = sum(tally.sent for tally in self.tallies.values())
        lost = sum(len(tally.lost) for tally in self.tallies.values())
        return Figure(
            f"weight {self.percent:g} %, {count}",
            f"± {SIGMAS * self.sigma:.3%}",
            f"{self.share:.3%} (z {self.z:+.2f}), {self.answered / self.seconds:,.0f} requests/s",
            sent,
            lost,
            abs(self.z) <= SIGMAS,
        )


@dataclass(frozen=True, slots=True)
class Move:
    """All traffic has left a version. Times are the event loop's."""

    began: float
    """When the command that asks for it began."""
    recorded: float
    """When the event in question was recorded."""
    tallies: Mapping[str, Tally]
    """By node: what was sent through its ingress from shortly before the command on."""
    version: str
    """The one that is left."""

    @property
    def lasts(self) -> list[float]:
        """When each node was sent the last request that the version answered."""
        silent = [node for node, tally in self.tallies.items() if self.version not in tally.last]
        assert not silent, f"through {', '.join(silent)} version {self.version} answered nothing"
        return [tally.last[self.version] for tally in self.tallies.values()]

    @property
    def spread(self) -> float:
        """Seconds between the first node that was done with it and the last."""
        return max(self.lasts) - min(self.lasts)

    @property
    def took(self) -> float:
        """Seconds from the begin of the command to the last request."""
        return max(self.lasts) - self.began

    @property
    def after(self) -> float:
        """Seconds from the event to the last request: negative when it came before it."""
        return max(self.lasts) - self.recorded


def switched(moves: Sequence[Move]) -> list[Figure]:
    """Blue-green, recorded: that it is completed."""
    spreads, afters = [move.spread for move in moves], [move.after for move in moves]
    before = [-after for after in afters]
    times = f"{len(moves)} switches"
    return [
        _row(
            f"blue-green: spread between nodes, {times}",
            f"<= {_ms([SPREAD])}",
            _ms(spreads),
            moves,
            max(spreads) <= SPREAD,
        ),
        _row(
            f"blue-green: last request to blue before `rollout.completed`, {times}",
            "none after it",
            _ms(before),
            moves,
            max(afters) < 0,
        ),
    ]


def aborted(moves: Sequence[Move]) -> list[Figure]:
    """A canary at 50 %, recorded: that it is aborted."""
    return [
        _row(
            f"abort to the last request to the bad revision, {len(moves)} times",
            f"< {_ms([ABORT])}",
            f"{_ms([move.took for move in moves])} after the command began; "
            f"{_ms([move.after for move in moves])} after the abort was recorded",
            moves,
            max(move.took for move in moves) < ABORT,
        )
    ]


def rolled_back(moves: Sequence[Move]) -> list[Figure]:
    """To a warm revision, recorded: that it goes back."""
    return [
        _row(
            f"rollback to a warm revision, {len(moves)} times",
            f"< {_ms([ROLLBACK])}",
            f"last request to the left one {_ms([move.took for move in moves])} "
            "after the command began",
            moves,
            max(move.took for move in moves) < ROLLBACK,
        )
    ]


def _row(line: str, goal: str, measured: str, moves: Sequence[Move], reached: bool) -> Figure:
    tallies = [tally for move in moves for tally in move.tallies.values()]
    sent, lost = sum(t.sent for t in tallies), sum(len(t.lost) for t in tallies)
    return Figure(line, goal, measured, sent, lost, reached)


def _ms(seconds: Sequence[float]) -> str:
    return ", ".join(f"{1000 * each:.0f}" for each in seconds) + " ms"


def table(figures: Sequence[Figure]) -> list[str]:
    """In Markdown."""
    lines = ["| Line | Goal | Measured | Requests | Lost | Holds |", "|---" * 6 + "|"]
    for each in figures:
        holds = "yes" if each.good else "NO"
        cells = (each.line, each.goal, each.measured, f"{each.sent:,}", each.lost, holds)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines
