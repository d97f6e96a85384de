"""How a service goes from one revision to another, as a stack file declares it.

Part of `core.model.stack.ServiceSpec`; played by `core.rollout`.
"""

import enum

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.record import Value
from stackd.core.model.variants import UserGoal


class StrategyKind(enum.StrEnum):
    """The rollout strategies that exist so far."""

    ROLLING = "rolling"
    RECREATE = "recreate"
    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    SHADOW = "shadow"
    AB = "ab"
    STAGED = "staged"
    """Of a feature toggle, not of a service."""

    @property
    def weighted(self) -> bool:
        """The new revision comes up beside the old one, which stays whole until it is proven;
        weights say which of them gets how much of the traffic."""
        return self not in (StrategyKind.ROLLING, StrategyKind.RECREATE)


class OnFailure(enum.StrEnum):
    """What a failed rollout does."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    CONTINUE = "continue"
    STEP_BACK = "step_back"
    """Back to the weight before; where there is none, or a second time, back to stable."""


class Amount(Value, frozen=True, kw_only=True):
    """A number of tasks, or a share of the replicas when `percent`."""

    value: int
    percent: bool = False

    def of(self, total: int, *, up: bool) -> int:
        """The number of tasks out of `total`; a share is rounded up or down."""
        if not self.percent:
            return self.value
        scaled = self.value * total
        return -(-scaled // 100) if up else scaled // 100


class SetWeight(Value, frozen=True, kw_only=True, tag="set_weight"):
    """The new revision gets this share of the traffic."""

    weight: int
    """0..10000."""

    @property
    def words(self) -> str:
        """As a stack file has it, on one line."""
        return f"set_weight {self.weight / 100:g}%"


class Pause(Value, frozen=True, kw_only=True, tag="pause"):
    """Nothing changes for so long. 0 seconds = until a person promotes."""

    seconds: float = 0

    @property
    def words(self) -> str:
        """As a stack file has it, on one line."""
        return f"pause {self.seconds:g}s" if self.seconds else "pause until promoted"


class SetScale(Value, frozen=True, kw_only=True, tag="set_scale"):
    """From here on the new revision has at least so many tasks, whatever its weight."""

    tasks: Amount

    @property
    def words(self) -> str:
        """As a stack file has it, on one line."""
        return f"set_scale {self.tasks.value}{'%' if self.tasks.percent else ''}"


class Matcher(Value, frozen=True, kw_only=True):
    """One property of a request. Exactly one of `header` and `cookie` is its name."""

    header: str = ""
    cookie: str = ""
    exact: str = ""

    @property
    def words(self) -> str:
        """On one line."""
        kind = f"header {self.header}" if self.header else f"cookie {self.cookie}"
        return f"{kind}={self.exact}"


class SetMatch(Value, frozen=True, kw_only=True, tag="match"):
    """From here on requests that match any of these go to the new revision, whatever the weights.
    None = no request is matched any more."""

    any_of: tuple[Matcher, ...] = ()

    @property
    def words(self) -> str:
        """As a stack file has it, on one line."""
        return f"match {' or '.join(m.words for m in self.any_of)}" if self.any_of else "no match"


class SetMirror(Value, frozen=True, kw_only=True, tag="mirror"):
    """From here on this share of stable's requests is sent to the new revision as well; its
    answers are thrown away."""

    share: int
    """0..10000."""

    @property
    def words(self) -> str:
        """As a stack file has it, on one line."""
        return f"mirror {self.share / 100:g}%"


class Analyse(Value, frozen=True, kw_only=True, tag="analysis"):
    """Goes on when the analysis has passed."""

    policy: AnalysisPolicy
    called: str = ""
    """The place of its answer, where that is not the step's number."""
    seconds: float = 0
    """For so long, and then the newest answer decides; 0 = until there is one that is final."""

    @property
    def words(self) -> str:
        """As a stack file has it, on one line."""
        name = self.called.partition("_promotion")
        kind = f"{name[0]}-promotion analysis" if name[1] else "analysis"
        return f"{kind} for {self.seconds:g}s" if self.seconds else kind


RolloutStep = SetWeight | Pause | SetScale | SetMatch | SetMirror | Analyse
"""One step of a rollout."""


class Preview(Value, frozen=True, kw_only=True):
    """Where green is reached before the switch: a port of its own, or a host name on the ports
    that the service has. Exactly one of the two."""

    published: int = 0
    host: str = ""


class Strategy(Value, frozen=True, kw_only=True):
    """How one service goes from a revision to another. Times in seconds."""

    kind: StrategyKind = StrategyKind.ROLLING
    max_surge: Amount = Amount(value=1)
    max_unavailable: Amount = Amount(value=0)
    """start-first = surge 1, unavailable 0; stop-first = surge 0, unavailable 1."""
    parallelism: int = 0
    """Slots replaced at once; 0 = what surge and unavailable allow."""
    delay: float = 0
    monitor: float = 5.0
    """A new task must stay up this long before it counts as updated."""
    max_failure_ratio: float = 0
    on_failure: OnFailure = OnFailure.ROLLBACK
    progress_deadline: float = 600.0
    drain_timeout: float = 30.0
    steps: tuple[RolloutStep, ...] = ()
    """Canary: what is done before the new revision takes over."""
    analysis: AnalysisPolicy | None = None
    """Beside all steps: can only fail the rollout."""
    pre_promotion: AnalysisPolicy | None = None
    """Blue-green: must pass before the switch."""
    post_promotion: AnalysisPolicy | None = None
    """Blue-green: after the switch; blue takes over again when it fails."""
    preview: Preview | None = None
    """Blue-green: where green is reached before the switch."""
    mirror: int = 10_000
    """Shadow: share of the requests that are mirrored, 0..10000."""
    duration: float = 600.0
    """Shadow: how long it is judged."""
    match: tuple[Matcher, ...] = ()
    """A/B: requests that match any of these go to the new revision."""
    split: int = 0
    """A/B: share of the users who get the new revision, 0..10000."""
    goal: UserGoal | None = None
    """A/B: what users are to do; None = variants are only counted."""
    scale_down_delay: float = 30.0
    """How long the replaced revision stays ready to take over again, where it stays whole until
    then."""
    group: str = ""
    """Services of the stack with the same one go from step to step together."""
    auto_promote: bool = True
    """Blue-green: switch by itself, after `auto_promote_after`; else when a person promotes."""
    auto_promote_after: float = 0

    @property
    def analysed(self) -> bool:
        """Whether some analysis may judge a rollout."""
        asked = (self.analysis, self.pre_promotion, self.post_promotion)
        steps = any(isinstance(step, Analyse) for step in self.steps)
        return steps or any(policy is not None for policy in asked)

    def peak(self, total: int) -> int:
        """Tasks that may be there at once while a rollout runs."""
        return total * 2 if self.kind.weighted else total + self.limits(total)[0]

    def limits(self, total: int) -> tuple[int, int]:
        """(tasks above `total` at most, tasks below `total` at most); never both 0."""
        surge = self.max_surge.of(total, up=True)
        unavailable = self.max_unavailable.of(total, up=False)
        if surge <= 0 and unavailable <= 0:
            unavailable = 1
        return surge, min(unavailable, total)
