"""The part of the status tree that tells what analyses and A/B variants have found.

Called by `drawing`.
"""

import math
from collections.abc import Iterator

from rich.text import Text

from stackd.cli.output import clean
from stackd.cli.simulation import span
from stackd.cli.table import with_icon
from stackd.core.model.analysis import Reading, Span
from stackd.core.model.api import AnalysisRow, VariantRow, VariantsRow

_VERDICTS = {
    "pass": "green",
    "fail": "red",
    "inconclusive": "blue",
    "better": "green",
    "worse": "red",
}


def analysis(row: AnalysisRow) -> Text:
    """The verdict, why, and what is still missing to it."""
    text = Text(f"analysis {row.place}  ", style="bold")
    text.append(with_icon(row.verdict), style=_VERDICTS.get(row.verdict, ""))
    if row.reason:
        text.append(f"  {clean(row.reason)}")
    told = "more requests" in row.reason
    if not row.final and not told and row.requests_left:
        text.append(f"; about {row.requests_left:,} more requests", style="yellow")
        if row.seconds_left is not None:
            text.append(f", {span(round(row.seconds_left))}", style="yellow")
    return text


def figures(row: AnalysisRow) -> Iterator[Text]:
    """Canary against stable, with intervals, and what was checked."""
    if row.canary_requests or row.stable_requests:
        counts = f"{row.canary_requests:,}"
        if row.stable_requests:
            counts = f"canary {counts}, stable {row.stable_requests:,}"
        yield Text(f"requests judged: {counts}", style="dim")
    for reading in row.readings:
        yield _reading(reading)
    for name, said in row.checks.items():
        yield Text(clean(f"check {name}: {said}"))


def _reading(reading: Reading) -> Text:
    words = {"errors": "failed", "latency": "slow blocks"}
    what = words.get(reading.metric, reading.metric.replace("_", " "))
    text = Text(f"{what}: canary {_share(reading.canary)}, stable {_share(reading.stable)}")
    ratio = reading.ratio
    if ratio is not None and math.isfinite(ratio.value):
        text.append(f", {_times(ratio)}")
    worse = f"; evidence of worse {reading.evidence:.3g} of {reading.fails_at:g}"
    text.append(f"{worse}, of no worse {reading.fine:.3g} of {reading.passes_at:g}", style="dim")
    return text


def goal(row: VariantsRow) -> Text:
    """The verdict on the goal, and what is still missing to it."""
    text = Text("variants  ", style="bold")
    goal = row.goal
    if goal is None:
        return text.append(f"counted since {row.since}", style="dim")
    text.append(f"goal {clean(goal.words)}  ")
    text.append(with_icon(goal.verdict), style=_VERDICTS.get(goal.verdict, ""))
    if goal.ratio is not None and math.isfinite(goal.ratio.value):
        text.append(f"  {_times(goal.ratio)} stable's rate")
    if goal.requests_left is not None:
        text.append(f"; about {goal.requests_left:,} more requests", style="yellow")
    weighed = f"; evidence of better {goal.better:.3g}, of worse {goal.worse:.3g}"
    text.append(f"{weighed} of {goal.decides_at:g}", style="dim")
    return text


def variant(row: VariantRow) -> Text:
    text = Text(f"{row.role} {row.revision}: {row.requests:,} requests")
    text.append(f", failed {_share(row.error_rate)}")
    if row.goal_rate is not None:
        text.append(f", reached the goal {_share(row.goal_rate)}")
    return text


def _times(ratio: Span) -> str:
    """A ratio with its 99 % interval."""
    high = f"{ratio.high:.3g}" if math.isfinite(ratio.high) else "∞"
    return f"{ratio.value:.3g} times [{ratio.low:.3g}, {high}]"


def _share(found: Span) -> str:
    """A share with its 99 % interval."""
    return f"{found.value:.2%} [{found.low:.2%}, {found.high:.2%}]"
