"""When to probe a task's health and what the answers mean: Compose's rules. Driven by
`agent.health`.

Beside Compose's schedule there are a few early probes before the first regular one, so that a
fast service is ready fast; a failed early probe counts for nothing.
"""

from stackd.core.model.container import Check, HealthCheck
from stackd.core.model.driver import ImageConfig
from stackd.core.model.record import Value
from stackd.core.model.states import Health

OUTPUT_LIMIT = 300
EARLY = {Check.COMMAND: 0.5, Check.HTTP: 0.05, Check.TCP: 0.05}
"""Seconds after the start of the first early probe: a command costs a process in the container,
the others nearly nothing."""
GROWTH = 1.5


class Probing(Value, frozen=True, kw_only=True):
    """A health check with nothing left open. Times in seconds."""

    kind: Check
    command: tuple[str, ...] = ()
    path: str = "/"
    port: int = 0
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0

    @property
    def deadline(self) -> float:
        """Seconds in which a starting task must have become healthy."""
        return max(60.0, self.start_period + (self.retries + 1) * (self.interval + self.timeout))


class Condition(Value, frozen=True, kw_only=True):
    """What the probes have shown so far. `started`: when the container was."""

    started: float
    health: Health = Health.STARTING
    failures: int = 0
    probes: int = 0
    last: float = 0
    """When the last probe ended; 0 = none yet."""
    output: str = ""


def probing(check: HealthCheck | None, image: ImageConfig) -> Probing | None:
    """The check that applies: the stack file's, completed by the image's, then by Compose's
    defaults. None when there is none."""
    if check is not None and check.disabled:
        return None
    declared = check or HealthCheck()
    if declared.kind is not Check.COMMAND:
        image = ImageConfig()
    command = declared.command or image.health_test
    if declared.kind is Check.COMMAND and not command:
        return None
    return Probing(
        kind=declared.kind,
        command=command,
        path=declared.path,
        port=declared.port,
        interval=_first(declared.interval, image.health_interval, 30.0),
        timeout=_first(declared.timeout, image.health_timeout, 30.0),
        retries=max(1, int(_first(declared.retries, image.health_retries, 3))),
        start_period=_first(declared.start_period, image.health_start_period, 0.0),
        start_interval=_first(declared.start_interval, 0.0, 5.0),
    )


def _first(declared: float | None, inherited: float, default: float) -> float:
    if declared is not None:
        return declared
    return inherited or default


def next_probe(plan: Probing, condition: Condition) -> float:
    """When the next probe is due, on the clock of `condition.started`."""
    last = condition.last or condition.started
    if condition.health is not Health.STARTING:
        return last + plan.interval
    first = condition.started + (plan.start_interval if plan.start_period else plan.interval)
    if last < first:
        return min(first, last + EARLY[plan.kind] * float(GROWTH ** min(condition.probes, 30)))
    in_start_period = last < condition.started + plan.start_period
    return last + (plan.start_interval if in_start_period else plan.interval)


def probed(plan: Probing, condition: Condition, passed: bool, output: str, now: float) -> Condition:
    """The condition after one probe that ended at `now`."""
    text = output.strip()[-OUTPUT_LIMIT:]
    probes = condition.probes + 1
    if passed:
        return Condition(
            started=condition.started,
            health=Health.HEALTHY,
            probes=probes,
            last=now,
            output=text,
        )
    grace = plan.start_period or plan.interval
    spared = condition.health is Health.STARTING and now < condition.started + grace
    failures = condition.failures + (0 if spared else 1)
    health = Health.UNHEALTHY if failures >= plan.retries else condition.health
    return Condition(
        started=condition.started,
        health=health,
        failures=failures,
        probes=probes,
        last=now,
        output=text,
    )


def unhealthy_text(condition: Condition) -> str:
    """Why an unhealthy task is stopped, in one sentence."""
    times = "once" if condition.failures == 1 else f"{condition.failures} times"
    tail = f": {condition.output}" if condition.output else ""
    return f"health check failed {times}{tail}"
