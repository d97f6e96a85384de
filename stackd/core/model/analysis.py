"""What an analysis is asked, what it is shown, what it remembers and what it answers.

`core.spec` makes policies, agents and the manager make `Block`s and `CheckResult`s,
`core.analysis` decides, the rollout's record keeps the `AnalysisState` between two looks.
Times and durations are seconds; rates and shares are fractions of 1.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Record, Value
from stackd.core.model.variants import Variants


class Verdict(enum.StrEnum):
    """What an analysis says. Inconclusive is a state, not a failure: it comes with an estimate."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class OnInconclusive(enum.StrEnum):
    """What the rollout does when the time limit passes without a verdict."""

    PAUSE = "pause"
    PROMOTE = "promote"
    ABORT = "abort"


class LatencyRatio(Value, frozen=True, kw_only=True):
    """The canary may be up to `max_ratio` times as slow as stable at `quantile`."""

    quantile: float = 0.99
    max_ratio: float = 1.5


class Compare(Value, frozen=True, kw_only=True):
    """Canary against stable over the same window; None = not compared."""

    error_ratio: float | None = 3.0
    """A pass must rule out that the canary fails this many times as often as stable."""
    latency: LatencyRatio | None = LatencyRatio()
    turned_ratio: float | None = None
    """The same as `error_ratio` of requests that are turned away (3xx, but 304, and 4xx): those of
    a shadow are the same requests, so that it should turn away as many."""


class Limits(Value, frozen=True, kw_only=True):
    """What the canary must keep whatever stable does; None = no limit."""

    error_rate: float | None = 0.05
    latency_p99: float | None = 0.5


class Operator(enum.StrEnum):
    """How a number that a check returns is compared."""

    AT_LEAST = ">="
    AT_MOST = "<="
    ABOVE = ">"
    BELOW = "<"
    EQUAL = "=="
    OTHER = "!="


class Condition(Value, frozen=True, kw_only=True):
    """`result OPERATOR value`."""

    operator: Operator
    value: float


class CheckKind(enum.StrEnum):
    """Who is asked. A webhook is a gate: it confirms or lets wait, and never fails the rollout
    by staying closed."""

    PROMETHEUS = "prometheus"
    HTTP = "http"
    COMMAND = "command"
    WEBHOOK = "webhook"


class Check(Value, frozen=True, kw_only=True):
    """Something outside stackd that has a say."""

    name: str
    """Unique within the policy."""
    kind: CheckKind
    url: str = ""
    query: str = ""
    condition: Condition | None = None
    """Of a Prometheus query: what its result must fulfil."""
    command: tuple[str, ...] = ()
    timeout: float = 10.0
    failures: int = 3
    """This many failures in a row fail the analysis."""


class AnalysisPolicy(Value, frozen=True, kw_only=True):
    """`analysis` of a stack file."""

    compare: Compare = Compare()
    limits: Limits = Limits()
    checks: tuple[Check, ...] = ()
    warm_up: float = 30.0
    """The first seconds of each new task are not judged, but for the guards."""
    interval: float = 10.0
    min_requests: int = 200
    """Of the canary; gates a pass, never a failure."""
    time_limit: float = 1800.0
    on_inconclusive: OnInconclusive = OnInconclusive.PAUSE


class Block(Value, frozen=True, kw_only=True):
    """Consecutive requests of one instance (task), made by the agent from Envoy's access log.

    All blocks of one analysis hold the same number of requests.
    """

    instance: str
    revision: RevisionId
    sequence: int
    """Grows for as long as the instance lives, also over restarts of its agent; need not be
    dense. A block that was seen before is not counted again."""
    since: float
    """When its first request began."""
    requests: int
    errors: int
    """5xx, timeouts, resets."""
    turned: int = 0
    """Answered with 3xx, but 304, or 4xx."""
    latency: float = 0.0
    """The duration that the policy's quantile of its requests did not exceed (nearest rank)."""
    seconds: tuple[float, ...] = ()
    """What each of its requests took, where that is known."""
    over: int = 0
    """Requests that took longer than `limits.latency_p99`."""


class CheckOutcome(enum.StrEnum):
    """What asking gave. WAIT: a gate is closed. ERROR: no answer, or one that makes no sense."""

    PASS = "pass"
    FAIL = "fail"
    WAIT = "wait"
    ERROR = "error"


class CheckResult(Value, frozen=True, kw_only=True):
    """One answer of one check."""

    name: str
    at: float
    outcome: CheckOutcome
    text: str = ""
    """What was answered, for people."""
    step: int = 0
    """Of a gate: the step, from 1, that it was asked to confirm; 0 = it was not told."""


class TaskFaults(Value, frozen=True, kw_only=True):
    """What befell the canary's tasks since the analysis began."""

    crashes: int = 0
    """Tasks that ended by their own fault."""
    oom_kills: int = 0
    unhealthy: int = 0
    """Tasks whose health check has failed."""


class Counters(Value, frozen=True, kw_only=True):
    """The proxy's own counters of the canary since the analysis began, summed over the nodes.

    `errors` holds also what was retried and so never reached a client.
    """

    requests: int
    errors: int


class Observed(Value, frozen=True, kw_only=True):
    """What came in since the last look; repetitions are harmless."""

    blocks: tuple[Block, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    faults: TaskFaults = TaskFaults()
    counters: Counters | None = None
    """Cross-check of the access log; None = not known at this look."""
    doubts: tuple[str, ...] = ()
    """Why the blocks are not the whole story (a node's log stream is down); forbids a pass."""


class Tally(Value, frozen=True, kw_only=True):
    """Sums over the judged blocks of one side."""

    requests: int = 0
    errors: int = 0
    over: int = 0
    blocks: int = 0
    bad: int = 0
    """Blocks with at least one error."""
    turned: int = 0
    """Requests that were turned away."""
    turned_blocks: int = 0
    """Blocks with at least one such."""
    timed: int = 0
    """Blocks whose latency was judged."""
    slow: int = 0
    """Of these, the slow ones."""
    over_blocks: int = 0
    """Blocks with at least one request over the limit."""


class Window(Value, frozen=True, kw_only=True):
    """Blocks of both sides over the same time."""

    canary: int = 0
    canary_bad: int = 0
    stable: int = 0
    stable_bad: int = 0


class Evidence(Value, frozen=True, kw_only=True):
    """The e-processes of one comparison, as logarithms."""

    RATIOS: ClassVar[tuple[float, ...]] = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
    worse: tuple[float, ...] = (0.0,) * 6
    """Likelihood of each ratio against "no worse"."""
    fine: float = 0.0
    """Likelihood of "no worse" against the ratio that a pass must rule out."""
    open: Window = Window()
    """Blocks not weighed yet, because one side has none."""


class Strikes(Value, frozen=True, kw_only=True):
    """The guard against a canary that mostly fails: its requests since the last count."""

    requests: int = 0
    errors: int = 0
    strikes: int = 0
    """Counts in a row with more than half of the requests failed."""


class CheckState(Value, frozen=True, kw_only=True):
    """The newest answer of a check, and how many failures in a row end with it."""

    at: float
    outcome: CheckOutcome
    text: str = ""
    step: int = 0
    failures: int = 0


class Seen(Value, frozen=True, kw_only=True):
    """How far an instance's blocks are known, and from when on they are judged."""

    sequence: int
    judged_from: float


class AnalysisState(Value, frozen=True, kw_only=True):
    """All that an analysis knows. Stored at each look; any process goes on from it exactly."""

    canary: RevisionId
    stable: RevisionId
    started: float
    background: bool = False
    """Beside the steps: can only fail the rollout, has no time limit."""
    canary_tally: Tally = Tally()
    stable_tally: Tally = Tally()
    errors: Evidence = Evidence()
    latency: Evidence = Evidence()
    turned: Evidence = Evidence()
    errors_singly: Evidence = Evidence()
    """Of single requests, as `errors` is of blocks."""
    latency_singly: Evidence = Evidence()
    turned_singly: Evidence = Evidence()
    seen: Mapping[str, Seen] = msgspec.field(default_factory=dict)
    """By instance."""
    calm: tuple[float, ...] = ()
    """Latencies of stable's blocks, until `slow_over` is made of them."""
    slow_over: float | None = None
    """A stable block above this is slow; frozen."""
    strikes: Strikes = Strikes()
    checks: Mapping[str, CheckState] = msgspec.field(default_factory=dict)
    counters: Counters | None = None
    logged: Counters = Counters(requests=0, errors=0)
    """The canary's requests in all blocks, those of the warm-up too."""
    verdict: Verdict = Verdict.INCONCLUSIVE
    final: bool = False
    """The verdict stands; nothing is looked at any more."""
    reason: str = ""
    share: int | None = None
    """Of a toggle, beside its steps: the share, 0..10000, at which requests are counted now."""
    shares: int = 0
    """How many shares it had, this one too: each is a test of its own."""
    counted_from: float = 0.0
    """When that share began to act; only requests since then are counted."""


class Estimate(Value, frozen=True, kw_only=True):
    """How much longer a pass would take if all goes on as it did; None = cannot be told."""

    requests: int | None = None
    seconds: float | None = None


class Metric(enum.StrEnum):
    """What is compared."""

    ERRORS = "errors"
    LATENCY = "latency"
    TURNED = "turned_away"


class Span(Value, frozen=True, kw_only=True):
    """A value between its 99 % bounds (for people: verdicts rest on evidence)."""

    value: float
    low: float
    high: float


class Reading(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One comparison, as status shows it."""

    metric: Metric
    canary: Span
    """Share of failed requests, or of those turned away; of slow blocks for latency."""
    stable: Span
    ratio: Span | None
    """Bad blocks of the canary against stable's; None while neither has one."""
    evidence: float
    """E that the canary is worse, of blocks or of single requests, the lesser one: fails at
    `fails_at`."""
    fails_at: float
    fine: float
    """E that it is not: passes at `passes_at`."""
    passes_at: float


class Judgement(Value, frozen=True, kw_only=True, omit_defaults=False):
    """The answer of one look."""

    verdict: Verdict
    final: bool
    """False: go on looking. True with INCONCLUSIVE: the time limit has passed."""
    reason: str
    estimate: Estimate
    readings: tuple[Reading, ...]


class Run(Value, frozen=True, kw_only=True):
    """One analysis under way or over: what it knows, and its newest answer for people."""

    state: AnalysisState
    judgement: Judgement | None = None
    at: float = 0
    """Of the newest look (manager's clock)."""
    block: int = 10
    """Requests of each of its blocks."""


class Analysis(Record, frozen=True, kw_only=True):
    """The analyses of one rollout. Written by the analyses loop, read by the rollouts loop and
    by `status`; gone with the next rollout."""

    TABLE: ClassVar[str] = "analyses"
    stack: str
    service: str
    rollout: str
    """The rollout's id."""
    runs: Mapping[str, Run] = msgspec.field(default_factory=dict)
    """By place: `background`, `step N` (from 1), `pre_promotion`, `post_promotion`."""
    variants: Variants | None = None
    """What both variants of an A/B rollout did."""

    @property
    def key(self) -> str:
        return service_key(self.stack, self.service)
