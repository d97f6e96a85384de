"""What is shown of a rollout, of a service or of a toggle, of its analyses and variants."""

from collections.abc import Mapping

from stackd.core.model.analysis import Reading, Span
from stackd.core.model.api.base import Answer


class RolloutRow(Answer, frozen=True, kw_only=True):
    """The rollout of a service that is under way, or the last one."""

    target: str
    source: str
    """The stable revision when it began; '' for a first rollout."""
    phase: str
    started: str
    by: str
    release: int
    commit: str
    waits_for: str
    """`person`, `time` (a timed pause), `analysis`, or '' = neither."""
    pause_left: float
    """Seconds left of the timed pause that the current step is."""
    promoted: tuple[str, ...]
    """Who has let it go on past a pause, and when, in order."""
    steering: tuple[str, ...]
    """Which requests go where whatever the weights."""


class AnalysisRow(Answer, frozen=True, kw_only=True):
    """One analysis of the rollout in `RolloutRow`, as of its last look."""

    place: str
    """`background`, `step N`, `pre_promotion`, `post_promotion`."""
    verdict: str
    final: bool
    """The verdict stands; false: it goes on looking."""
    reason: str
    at: str
    canary_requests: int
    """Judged so far."""
    stable_requests: int
    requests_left: int | None
    """To a pass, if all goes on as it did; None = cannot be told."""
    seconds_left: float | None
    readings: tuple[Reading, ...]
    checks: Mapping[str, str]
    """Name -> its newest answer."""


class VariantRow(Answer, frozen=True, kw_only=True):
    """One side of an A/B rollout, as of `VariantsRow.at`."""

    revision: str
    role: str
    """`stable` or `target`."""
    requests: int
    errors: int
    error_rate: Span
    goals: int
    """Requests that reached the goal."""
    goal_rate: Span | None
    """None without a goal."""


class GoalRow(Answer, frozen=True, kw_only=True):
    """Whether users of the target reach the goal more often than those of stable."""

    words: str
    verdict: str
    """`better`, `worse` or `inconclusive`."""
    ratio: Span | None
    """The target's rate against stable's; None while nobody reached it."""
    better: float
    """E that they do: the verdict is there at `decides_at`."""
    worse: float
    decides_at: float
    requests_left: int | None
    """To a verdict, if all goes on as it did; None = cannot be told."""


class VariantsRow(Answer, frozen=True, kw_only=True):
    """What both sides of the A/B rollout in `RolloutRow` did."""

    since: str
    at: str
    variants: tuple[VariantRow, ...]
    goal: GoalRow | None
