"""One look of an analysis: what is known so far, what came in, the time -> what is known now and
the verdict.

Called by strategies each `interval` seconds, or at any other time: looking more often changes no
promise. A state that was stored and read back by another process goes on exactly.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from stackd.core.analysis import checks, estimate, guards, metrics
from stackd.core.analysis.evidence import weighed
from stackd.core.analysis.intake import take
from stackd.core.model.analysis import (
    AnalysisPolicy,
    AnalysisState,
    Counters,
    Estimate,
    Evidence,
    Judgement,
    Observed,
    Verdict,
    Window,
)
from stackd.core.model.ids import RevisionId

UNLOGGED = 50
UNLOGGED_SHARE = 0.1
"""Requests that the proxy counted and the access log lacks, beyond which the log is doubted."""
HIDDEN = 10
HIDDEN_SHARE = 0.01
"""Errors that were counted and not logged (retried), beyond which the log is doubted."""


@dataclass(frozen=True)
class Look:
    """What to store, what to say, and when to look again (None: never, the verdict stands)."""

    state: AnalysisState
    judgement: Judgement
    wake_at: float | None


def begin(
    canary: RevisionId, stable: RevisionId, now: float, *, background: bool = False
) -> AnalysisState:
    """An analysis that starts now. In the background it can only fail, and has no time limit."""
    return AnalysisState(canary=canary, stable=stable, started=now, background=background)


def look(policy: AnalysisPolicy, state: AnalysisState, observed: Observed, now: float) -> Look:
    """Take in what was observed and judge. A verdict that is final stays as it is."""
    if state.final:
        return _answer(policy, state, Estimate(), None)
    counted = state.counters
    state = _weighed(policy, state, observed, now)
    if reason := _failed(policy, state, observed):
        ended = replace(state, verdict=Verdict.FAIL, final=True, reason=reason)
        return _answer(policy, ended, Estimate(), None)
    why = _withheld(policy, state, _doubt(observed, counted, state.logged), now)
    if not why:
        ended = replace(state, verdict=Verdict.PASS, final=not state.background, reason="")
        return _answer(policy, ended, Estimate(), None if ended.final else now + policy.interval)
    return _undecided(policy, state, why, now)


def _weighed(
    policy: AnalysisPolicy, state: AnalysisState, observed: Observed, now: float
) -> AnalysisState:
    """The state with blocks, checks and counters taken in."""
    taken = take(state, policy, observed.blocks, now)
    new, before = taken.state.logged, state.logged
    answered = Counters(requests=new.requests - before.requests, errors=new.errors - before.errors)
    ratio, turned = policy.compare.error_ratio, policy.compare.turned_ratio
    errors, turns = _single_requests(state, taken.state)
    return replace(
        taken.state,
        errors=_told(state.errors, taken.errors, ratio),
        errors_singly=_told(state.errors_singly, errors, ratio),
        latency=weighed(state.latency, taken.latency, metrics.SLOW_RATIO),
        latency_singly=weighed(state.latency_singly, taken.latency_singly, metrics.SLOW_RATIO),
        turned=_told(state.turned, taken.turned, turned),
        turned_singly=_told(state.turned_singly, turns, turned),
        strikes=guards.struck(state.strikes, answered),
        checks=checks.taken(state.checks, policy, observed.checks),
        counters=observed.counters or state.counters,
    )


def _told(evidence: Evidence, window: Window, ratio: float | None) -> Evidence:
    """The evidence with a further window, where it is compared at all."""
    return evidence if ratio is None else weighed(evidence, window, ratio)


def _single_requests(before: AnalysisState, after: AnalysisState) -> tuple[Window, Window]:
    """The requests of this look, by those that failed and by those that were turned away."""
    canary, stable = after.canary_tally, after.stable_tally
    ours, theirs = before.canary_tally, before.stable_tally
    errors = Window(
        canary=canary.requests - ours.requests,
        canary_bad=canary.errors - ours.errors,
        stable=stable.requests - theirs.requests,
        stable_bad=stable.errors - theirs.errors,
    )
    turned = (canary.turned - ours.turned, stable.turned - theirs.turned)
    return errors, replace(errors, canary_bad=turned[0], stable_bad=turned[1])


def _failed(policy: AnalysisPolicy, state: AnalysisState, observed: Observed) -> str:
    """Why the analysis fails, or ''."""
    return (
        guards.of_tasks(observed.faults)
        or guards.of_requests(state.strikes)
        or checks.failed(state.checks, policy)
        or metrics.failed(policy, state)
    )


def _doubt(observed: Observed, counted: Counters | None, logged: Counters) -> str:
    """Why the access log is not the whole story, or ''.

    `counted` is of the look before, because blocks come later than what counters count.
    """
    if observed.doubts:
        return "; ".join(observed.doubts)
    if counted is None:
        return ""
    missing, hidden = counted.requests - logged.requests, counted.errors - logged.errors
    if missing > max(UNLOGGED, UNLOGGED_SHARE * counted.requests):
        shown = f"{logged.requests:,} of {counted.requests:,}"
        return f"the access log shows {shown} requests of the canary"
    if hidden > max(HIDDEN, HIDDEN_SHARE * counted.requests):
        return f"{hidden:,} errors of the canary were retried and are in no answer"
    return ""


def _withheld(policy: AnalysisPolicy, state: AnalysisState, doubt: str, now: float) -> str:
    """Why it does not pass yet, or ''."""
    if now < state.started + policy.warm_up:
        return f"warming up for {policy.warm_up:g}s"
    if why := checks.withheld(state.checks, policy, now):
        return why
    if not metrics.asks_requests(policy):
        return ""
    return doubt or metrics.unsettled(policy, state)


def _undecided(policy: AnalysisPolicy, state: AnalysisState, why: str, now: float) -> Look:
    """Not decided: go on, or stop when the time limit has passed."""
    missing: Estimate = Estimate()
    if metrics.asks_requests(policy):
        compared = metrics.comparisons(policy, state)
        more = estimate.more_requests(policy, state.canary_tally, compared)
        missing = estimate.estimate(state, more, policy.warm_up, now)
    left = state.started + policy.time_limit - now
    over = left <= 0 and not state.background
    words = estimate.words(missing)
    if over:
        why = f"no verdict within {estimate.span(policy.time_limit)}: {why}"
    elif missing.seconds is not None and missing.seconds > left and not state.background:
        words += f", longer than the {estimate.span(left)} left" if words else ""
    reason = f"{why}; {words}" if words else why
    kept = replace(state, verdict=Verdict.INCONCLUSIVE, final=over, reason=reason)
    return _answer(policy, kept, missing, None if over else now + policy.interval)


def _answer(
    policy: AnalysisPolicy, state: AnalysisState, missing: Estimate, wake_at: float | None
) -> Look:
    judgement = Judgement(
        verdict=state.verdict,
        final=state.final,
        reason=state.reason,
        estimate=missing,
        readings=metrics.readings(policy, state),
    )
    return Look(state, judgement, wake_at)
