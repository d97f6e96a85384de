"""What the two variants of an A/B rollout did: counted by agents, kept by the analyses loop.

The declared goal is part of the strategy; `core.analysis.variants` weighs the counts.
"""

import enum

from stackd.core.model.record import Value


class UserGoal(Value, frozen=True, kw_only=True):
    """`goal` of a stack file: an answer that shows that a user has done what is wanted. Exactly
    one of `path` and `path_prefix`."""

    path: str = ""
    path_prefix: str = ""
    method: str = ""
    """'' = any."""
    status: int = 2
    """Class of the answer's status, 2 to 5."""

    @property
    def words(self) -> str:
        """On one line; also what counts of it are kept under."""
        method = f"{self.method} " if self.method else ""
        return f"{method}{self.path or f'{self.path_prefix}*'} {self.status}xx"

    def reached(self, method: str, path: str, status: int) -> bool:
        """Whether a request with this answer is one. What follows a `?` does not matter."""
        bare = path.partition("?")[0]
        here = bare == self.path if self.path else bare.startswith(self.path_prefix)
        return here and self.method in ("", method) and status // 100 == self.status


class Tried(Value, frozen=True, kw_only=True):
    """Requests to one variant."""

    requests: int = 0
    errors: int = 0
    """5xx, timeouts, resets."""
    goals: int = 0

    def plus(self, other: "Tried") -> "Tried":
        """Both together."""
        return Tried(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            goals=self.goals + other.goals,
        )

    def minus(self, other: "Tried") -> "Tried":
        """What is beyond `other`."""
        return Tried(
            requests=self.requests - other.requests,
            errors=self.errors - other.errors,
            goals=self.goals - other.goals,
        )


class GoalVerdict(enum.StrEnum):
    """Whether users of the new revision reach the goal more often than those of the old one."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class Weighed(Value, frozen=True, kw_only=True):
    """The e-processes of a goal, as logarithms, and the counts that are in them."""

    stable: Tried = Tried()
    target: Tried = Tried()
    more: tuple[float, ...] = ()
    """Likelihood of each ratio against "as often"; empty = nothing weighed yet."""
    fewer: tuple[float, ...] = ()
    """Of each ratio's inverse."""


class Variants(Value, frozen=True, kw_only=True):
    """The counts of an A/B rollout since it began or its goal was edited."""

    goal: UserGoal | None = None
    since: float = 0
    """Manager's clock, as `at`."""
    at: float = 0
    """When the counts last changed."""
    stable: Tried = Tried()
    target: Tried = Tried()
    weighed: Weighed = Weighed()
    verdict: GoalVerdict = GoalVerdict.INCONCLUSIVE
    """Once it is known it stands."""
