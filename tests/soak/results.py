"""What became of each run, and the tables of all. Used by `tests.soak.rollouts`."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from examples.demo.load import Lost, Tally
from tests.soak.kills import Kill, Outage


@dataclass(slots=True)
class Losses:
    """Requests without an answer of the application, by what contracts say of them."""

    lost: list[Lost] = field(default_factory=list)
    refused: list[Lost] = field(default_factory=list)
    """New connections while the service was being recreated: not lost."""
    carried: list[Lost] = field(default_factory=list)
    """On their way through an Envoy when it was killed."""
    in_gap: list[Lost] = field(default_factory=list)
    """Begun before the Envoy that replaces it listened."""
    late: list[Lost] = field(default_factory=list)
    """Without an answer in time in a run that does not count."""


@dataclass(slots=True)
class Run:
    """One rollout in one direction."""

    strategy: str
    direction: str
    number: int
    kill: Kill | None
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """By node: what was sent through its ingress."""
    losses: Losses = field(default_factory=Losses)
    outage: Outage | None = None
    span: float = 0.0
    """Seconds from the command that begins the rollout to its end."""
    rate: float = 0.0
    """Requests a second that were sent."""
    held_up: float = 0.0
    """The longest time, in seconds, that the client waited for the processor."""
    starved: bool = False
    """The client could not send what it should: the run shows nothing."""
    problem: str = ""
    """What did not go as it must, other than lost requests."""

    @property
    def sent(self) -> int:
        return sum(tally.sent for tally in self.tallies.values())

    @property
    def versions(self) -> set[str]:
        return set().union(*(tally.versions for tally in self.tallies.values()))

    @property
    def good(self) -> bool:
        return not self.losses.lost and not self.problem

    def judge(self, cycle: Sequence["Run"], *, away: bool) -> None:
        """Sort what was not answered; what an Envoy lost is put down to the run that killed it,
        of the same cycle: one that begins in this run can be lost by a kill in the next."""
        for node, tally in self.tallies.items():
            kills = [(run, run.outage) for run in cycle if run.outage and run.outage.node == node]
            for lost in tally.lost:
                if self.starved and lost.late:
                    self.losses.late.append(lost)
                elif carried := [run for run, outage in kills if outage.carrying(lost)]:
                    carried[0].losses.carried.append(lost)
                elif in_gap := [run for run, outage in kills if outage.in_gap(lost)]:
                    in_gap[0].losses.in_gap.append(lost)
                elif away and lost.refused:
                    self.losses.refused.append(lost)
                else:
                    self.losses.lost.append(lost)

    @property
    def line(self) -> str:
        """What is printed of it."""
        found = self.losses
        parts = [f"{self.sent:,} requests", f"{len(found.lost)} lost"]
        if found.refused:
            parts.append(f"{len(found.refused)} refused")
        if self.outage is not None:
            parts.append(
                f"Envoy carried {self.outage.carried}, {len(found.carried)} of them lost; "
                f"{len(found.in_gap)} in the {self.outage.gap:.2f} s until it listened"
            )
        parts.append(f"{self.span:.1f} s")
        if self.starved:
            parts.append(
                f"DOES NOT COUNT: {self.rate:.0f} requests/s, the client waited "
                f"{self.held_up:.1f} s for the processor, {len(found.late)} without answer in time"
            )
        if self.problem:
            parts.append(f"PROBLEM: {self.problem}")
        killed = f", {self.kill} killed" if self.kill else ""
        return f"{self.number:3} {self.strategy} {self.direction}{killed}: {', '.join(parts)}"


def table(runs: Sequence[Run]) -> list[str]:
    """Totals by strategy and direction."""
    usual = _grouped(run for run in runs if run.outage is None and not run.starved)
    lines = [
        "| Strategy | Direction | Runs | Manager, agent killed | Requests | Lost | Refused "
        "| Seconds, median (longest) |",
        "|---" * 8 + "|",
    ]
    for (strategy, direction), group in usual.items():
        kills = [run.kill.what for run in group if run.kill]
        spans = [run.span for run in group]
        refused = sum(len(run.losses.refused) for run in group)
        cells = (
            strategy,
            direction,
            len(group),
            f"{kills.count('manager')}, {kills.count('agent')}",
            f"{sum(run.sent for run in group):,}",
            sum(len(run.losses.lost) for run in group),
            f"{refused:,}" if refused else "",
            f"{statistics.median(spans):.1f} ({max(spans):.1f})",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def outages(runs: Sequence[Run]) -> list[str]:
    """The same for the runs in which an Envoy was killed."""
    groups = _grouped(run for run in runs if run.outage is not None and not run.starved)
    if not groups:
        return []
    lines = [
        "| Strategy | Direction | Envoys killed | Requests | Carried | Of them lost "
        "| Lost until it listened | Lost otherwise | Seconds until it listened |",
        "|---" * 9 + "|",
    ]
    for (strategy, direction), group in groups.items():
        seen = [run.outage for run in group if run.outage]
        gaps = [outage.gap for outage in seen]
        cells = (
            strategy,
            direction,
            len(seen),
            f"{sum(run.sent for run in group):,}",
            sum(outage.carried for outage in seen),
            sum(len(run.losses.carried) for run in group),
            sum(len(run.losses.in_gap) for run in group),
            sum(len(run.losses.lost) for run in group),
            f"{min(gaps):.2f} to {max(gaps):.2f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _grouped(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    groups = defaultdict[tuple[str, str], list[Run]](list)
    for run in runs:
        groups[run.strategy, run.direction].append(run)
    return dict(sorted(groups.items()))
