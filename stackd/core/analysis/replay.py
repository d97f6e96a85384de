"""Tries a policy on recorded counts: how often it takes back a canary that is no worse, and how
soon one that is.

Each stable instance in turn plays the canary, in each stretch of the recording as long as the
time limit, against the other instances; then again with errors added. Called by
`stackd analysis replay`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from msgspec.structs import replace

from stackd.core.analysis.intake import BLOCK, block_size
from stackd.core.analysis.look import begin, look
from stackd.core.analysis.recording import CANARY, STABLE, Cutter, Draw, Row, error_rate
from stackd.core.model.analysis import AnalysisPolicy, Block, Compare, Limits, Observed, Verdict
from stackd.core.model.record import Value


class Worse(Value, frozen=True, kw_only=True):
    """How the canary is made worse: errors `times` as frequent, or at `rate`."""

    times: float | None = None
    rate: float | None = None

    @property
    def label(self) -> str:
        """As it is written on the command line."""
        return f"{self.times:g}x" if self.times is not None else f"{(self.rate or 0) * 100:g}%"

    def extra(self, before: float) -> float:
        """The chance with which a good answer must fail to reach it from a rate of `before`."""
        wanted = before * self.times if self.times is not None else self.rate or 0.0
        return max(0.0, (min(1.0, wanted) - before) / (1 - before)) if before < 1 else 0.0


class Ended(Value, frozen=True, kw_only=True, omit_defaults=False):
    """The end of one analysis; `seconds` after it began."""

    verdict: Verdict
    seconds: float
    reason: str


class Trial(Value, frozen=True, kw_only=True, omit_defaults=False):
    """The ends of many analyses of one kind. Medians are None where nothing ended so."""

    label: str
    runs: int
    failed: int
    passed: int
    undecided: int
    fail_seconds: float | None
    pass_seconds: float | None


class Replayed(Value, frozen=True, kw_only=True, omit_defaults=False):
    """What a policy does on a recording."""

    requests: int
    errors: float
    seconds: float
    instances: int
    block: int
    recorded: Ended | None
    """The recorded canary against the recorded stable; None without a recorded canary."""
    equal: Trial | None
    """Failures here are false; None with fewer than two stable instances."""
    worse: tuple[Trial, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to try."""

    worse: tuple[Worse, ...]
    runs: int
    """Analyses of each kind, at most."""


@dataclass(frozen=True)
class _Stretch:
    """Rows of a stretch of time, and which instance plays the canary (None: as recorded)."""

    rows: Sequence[Row]
    canary: str | None
    extra: float = 0.0

    def is_canary(self, row: Row) -> bool:
        return row.canary if self.canary is None else row.instance == self.canary


def usable(policy: AnalysisPolicy, rows: Sequence[Row]) -> tuple[AnalysisPolicy, tuple[str, ...]]:
    """The policy without what the recording cannot answer, and what was left out."""
    notes, compare, limits = [], policy.compare, policy.limits
    if policy.checks:
        notes.append("checks are not replayed")
    if limits.latency_p99 is not None:
        notes.append("limits.latency_p99 is not replayed: counts do not show it")
        limits = Limits(error_rate=limits.error_rate, latency_p99=None)
    if compare.latency is not None and not all(_timed(row) for row in rows):
        notes.append(
            f"compare.latency is not replayed: it needs rows of at most {BLOCK} requests,"
            " each with a latency"
        )
        compare = Compare(error_ratio=compare.error_ratio, latency=None)
    return replace(policy, checks=(), limits=limits, compare=compare), tuple(notes)


def _timed(row: Row) -> bool:
    """Whether a row's latency is that of a block; one that stands for several would count as
    several."""
    return not row.requests or (row.latency > 0 and row.requests <= BLOCK)


def replay(policy: AnalysisPolicy, rows: Sequence[Row], plan: Plan, draw: Draw) -> Replayed:
    """Play the recording. `rows` are in the order of time."""
    policy, notes = usable(policy, rows)
    stable = [row for row in rows if not row.canary]
    size = block_size(sum(r.requests for r in stable), sum(r.errors for r in stable))
    player = _Player(policy, size, draw)
    recorded = None
    if any(row.canary for row in rows) and stable:
        recorded = player.play(_Stretch(rows, None))
    stretches = list(_stretches(policy, stable, plan.runs))
    if not stretches:
        notes = (*notes, "false failures need at least two stable instances with requests")
    trials = [_trial(player, worse, stretches) for worse in (None, *plan.worse)]
    return Replayed(
        requests=sum(row.requests for row in rows),
        errors=error_rate(stable),
        seconds=rows[-1].at - rows[0].at if rows else 0.0,
        instances=len({row.instance for row in stable}),
        block=size,
        recorded=recorded,
        equal=trials[0] if stretches else None,
        worse=tuple(trials[1:]) if stretches else (),
        notes=notes,
    )


def _stretches(policy: AnalysisPolicy, stable: Sequence[Row], runs: int) -> Iterator[_Stretch]:
    """Every stretch with every instance as the canary: all first stretches first, up to `runs`."""
    instances = sorted({row.instance for row in stable if row.requests})
    if len(instances) < 2:
        return
    parts: dict[int, list[Row]] = {}
    for row in stable:
        parts.setdefault(int((row.at - stable[0].at) // policy.time_limit), []).append(row)
    longest = max(part[-1].at - part[0].at for part in parts.values())
    # A rest at the end that is much shorter than the others would only add undecided ends.
    whole = [part for part in parts.values() if part[-1].at - part[0].at >= longest / 2]
    pairs = (
        (part, name)
        for name in instances
        for part in whole
        if any(row.instance == name and row.requests for row in part)
    )
    for _, (part, name) in zip(range(runs), pairs, strict=False):
        yield _Stretch(part, name)


def _trial(player: "_Player", worse: Worse | None, stretches: Sequence[_Stretch]) -> Trial:
    ends = []
    for stretch in stretches:
        before = error_rate([row for row in stretch.rows if row.instance == stretch.canary])
        extra = worse.extra(before) if worse is not None else 0.0
        ends.append(player.play(_Stretch(stretch.rows, stretch.canary, extra)))
    by = {verdict: [e.seconds for e in ends if e.verdict is verdict] for verdict in Verdict}
    failed, passed = by[Verdict.FAIL], by[Verdict.PASS]
    return Trial(
        label=worse.label if worse is not None else "equal",
        runs=len(ends),
        failed=len(failed),
        passed=len(passed),
        undecided=len(by[Verdict.INCONCLUSIVE]),
        fail_seconds=median(failed) if failed else None,
        pass_seconds=median(passed) if passed else None,
    )


@dataclass(frozen=True)
class _Player:
    policy: AnalysisPolicy
    size: int
    draw: Draw

    def play(self, stretch: _Stretch) -> Ended:
        """One analysis from the first row of a stretch to its verdict, or to the last row."""
        start, end = stretch.rows[0].at, stretch.rows[-1].at
        state, now = begin(CANARY, STABLE, start), start
        blocks = self._blocks(stretch)
        coming = next(blocks, None)
        while True:
            now += self.policy.interval
            new = []
            while coming is not None and coming[0] <= now:
                new.append(coming[1])
                coming = next(blocks, None)
            found = look(self.policy, state, Observed(blocks=tuple(new)), now)
            state = found.state
            if found.wake_at is None or now >= end:
                judged = found.judgement
                return Ended(
                    verdict=judged.verdict, seconds=min(now, end) - start, reason=judged.reason
                )

    def _blocks(self, stretch: _Stretch) -> Iterator[tuple[float, Block]]:
        cutters: dict[str, Cutter] = {}
        for row in stretch.rows:
            ours = stretch.is_canary(row)
            cutter = cutters.get(row.instance)
            if cutter is None:
                cutter = Cutter(row.instance, ours, self.size, self.draw)
                cutters[row.instance] = cutter
            yield from cutter.row(row, stretch.extra if ours else 0.0)
