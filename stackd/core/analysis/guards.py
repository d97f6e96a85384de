"""Fast guards, outside statistics: what no canary needs to be given time for. Called by `look`.

They hold from the first second, also while tasks are cold.
"""

from stackd.core.model.analysis import Counters, Strikes, TaskFaults

CRASH_LOOP = 2
"""One crash may be chance; the second task that ends by its own fault is a loop."""
LEAST = 20
"""Requests of one count."""
COUNTS = 2
"""Counts in a row with more than half of the requests failed."""


def of_tasks(faults: TaskFaults) -> str:
    """Why the canary's tasks fail the analysis, or ''."""
    if faults.oom_kills:
        return _many(faults.oom_kills, "task of the canary was killed for want of memory")
    if faults.unhealthy:
        return _many(faults.unhealthy, "task of the canary failed its health check")
    if faults.crashes >= CRASH_LOOP:
        return f"crash loop: {faults.crashes} tasks of the canary ended by their own fault"
    return ""


def _many(count: int, text: str) -> str:
    return f"{count} {text}" if count == 1 else f"{count} times: a {text}"


def struck(strikes: Strikes, new: Counters) -> Strikes:
    """The strikes with what the canary answered since the last look."""
    requests, errors = strikes.requests + new.requests, strikes.errors + new.errors
    if requests < LEAST:
        return Strikes(requests=requests, errors=errors, strikes=strikes.strikes)
    return Strikes(strikes=strikes.strikes + 1 if errors * 2 > requests else 0)


def of_requests(strikes: Strikes) -> str:
    """Why the canary's answers fail the analysis at once, or ''."""
    if strikes.strikes < COUNTS:
        return ""
    return f"more than half of the canary's requests failed, {strikes.strikes} counts in a row"
