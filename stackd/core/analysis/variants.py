"""A/B: whether users of the new revision reach the goal more often, and what is shown of both.

The same likelihood ratios as in `evidence`, for ratios above 1 and, in a test of its own, below 1:
each may be looked at at any time, and each is ever wrong with half of `ALPHA` at most. Requests are
counted, not users: a goal is best one that a user reaches once. Called by the analyses loop and by
`status`.
"""

import math
from collections.abc import Sequence

from msgspec.structs import replace

from stackd.core.analysis import bounds
from stackd.core.analysis.evidence import ALPHA, gain
from stackd.core.model.analysis import Window
from stackd.core.model.api.underway import GoalRow, VariantRow, VariantsRow
from stackd.core.model.times import rfc3339
from stackd.core.model.variants import GoalVerdict, Tried, UserGoal, Variants, Weighed

RATIOS = (1.05, 1.1, 1.2, 1.5, 2.0, 3.0)
DECIDES_AT = 2 / ALPHA
_FURTHEST = 1_000_000_000
_MOST = math.log(1e300)


def going_on(known: Variants | None, goal: UserGoal | None, now: float) -> Variants:
    """What is known of this goal; another one begins anew."""
    if known is not None and known.goal == goal:
        return known
    return Variants(goal=goal, since=now, at=now)


def counted(known: Variants, sums: tuple[Tried, Tried], now: float) -> Variants:
    """The counts and the verdict, with all that the old and the new revision did since then."""
    stable, target = sums
    if (stable, target) == (known.stable, known.target):
        return known
    found = replace(known, at=now, stable=stable, target=target)
    if known.goal is None:
        return found
    weighed = _weighed(known.weighed, stable, target)
    return replace(found, weighed=weighed, verdict=_verdict(known.verdict, weighed))


def _verdict(before: GoalVerdict, weighed: Weighed) -> GoalVerdict:
    enough = math.log(DECIDES_AT)
    if before is not GoalVerdict.INCONCLUSIVE:
        return before
    if _log_mean(weighed.more) >= enough:
        return GoalVerdict.BETTER
    return GoalVerdict.WORSE if _log_mean(weighed.fewer) >= enough else before


def _weighed(before: Weighed, stable: Tried, target: Tried) -> Weighed:
    """With what came since; as long as only one side had requests, that waits for the other."""
    new, old = target.minus(before.target), stable.minus(before.stable)
    if not new.requests or not old.requests:
        return before
    window = _window(old, new)
    return Weighed(
        stable=stable,
        target=target,
        more=_grown(before.more, window, RATIOS),
        fewer=_grown(before.fewer, window, [1 / ratio for ratio in RATIOS]),
    )


def _window(stable: Tried, target: Tried) -> Window:
    return Window(
        canary=target.requests,
        canary_bad=target.goals,
        stable=stable.requests,
        stable_bad=stable.goals,
    )


def _grown(logs: tuple[float, ...], window: Window, ratios: Sequence[float]) -> tuple[float, ...]:
    before = logs or (0.0,) * len(RATIOS)
    return tuple(log + gain(ratio, window) for log, ratio in zip(before, ratios, strict=True))


def _log_mean(logs: tuple[float, ...]) -> float:
    if not logs:
        return 0.0
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))


def shown(known: Variants, stable: str, target: str) -> VariantsRow:
    """For `status`: both revisions with 99 % intervals, and the verdict on the goal."""
    return VariantsRow(
        since=rfc3339(known.since),
        at=rfc3339(known.at),
        variants=(
            _variant(stable, "stable", known.stable, known.goal),
            _variant(target, "target", known.target, known.goal),
        ),
        goal=_goal(known, known.goal) if known.goal is not None else None,
    )


def _variant(revision: str, role: str, tried: Tried, goal: UserGoal | None) -> VariantRow:
    return VariantRow(
        revision=revision,
        role=role,
        requests=tried.requests,
        errors=tried.errors,
        error_rate=bounds.wilson(tried.errors, tried.requests),
        goals=tried.goals,
        goal_rate=bounds.wilson(tried.goals, tried.requests) if goal is not None else None,
    )


def _goal(known: Variants, goal: UserGoal) -> GoalRow:
    more, fewer = _log_mean(known.weighed.more), _log_mean(known.weighed.fewer)
    left = None
    if known.verdict is GoalVerdict.INCONCLUSIVE:
        left = _left(max(more, fewer), known.stable.requests + known.target.requests)
    return GoalRow(
        words=goal.words,
        verdict=known.verdict.value,
        ratio=bounds.ratio(_window(known.stable, known.target)),
        better=math.exp(min(more, _MOST)),
        worse=math.exp(min(fewer, _MOST)),
        decides_at=DECIDES_AT,
        requests_left=left,
    )


def _left(leaning: float, requests: int) -> int | None:
    """Further requests to a verdict if the evidence grows as it did; None = it does not."""
    if leaning <= 0:
        return None
    left = math.ceil(requests * (math.log(DECIDES_AT) / leaning - 1))
    return left if left < _FURTHEST else None
