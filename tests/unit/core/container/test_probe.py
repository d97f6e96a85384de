"""Health timing as Compose has it."""

from stackd.core.container.probe import (
    Condition,
    Probing,
    next_probe,
    probed,
    probing,
    unhealthy_text,
)
from stackd.core.model.container import Check, HealthCheck
from stackd.core.model.driver import ImageConfig
from stackd.core.model.states import Health


def plan(**values: object) -> Probing:
    return Probing(kind=Check.COMMAND, command=("/check",), **values)  # type: ignore[arg-type]


def play(check: Probing, passes_from: float, until: float = 1000.0) -> tuple[Condition, float]:
    """Probes that take no time and pass from `passes_from` seconds after the start."""
    condition, now = Condition(started=0.0), 0.0
    while condition.health is Health.STARTING and now < until:
        now = next_probe(check, condition)
        condition = probed(check, condition, now >= passes_from, "no", now)
    return condition, now


def test_no_check_and_disabled_check() -> None:
    image = ImageConfig(health_test=("/in-image",))
    assert probing(None, ImageConfig()) is None
    assert probing(HealthCheck(disabled=True), image) is None
    assert probing(HealthCheck(interval=1.0), ImageConfig()) is None


def test_image_check_is_inherited_and_overridden() -> None:
    image = ImageConfig(health_test=("/in-image",), health_interval=7.0, health_retries=9)
    inherited = probing(None, image)
    assert inherited is not None
    assert (inherited.command, inherited.interval, inherited.retries) == (("/in-image",), 7.0, 9)
    changed = probing(HealthCheck(command=("/mine",), interval=1.0), image)
    assert changed is not None
    assert (changed.command, changed.interval, changed.retries) == (("/mine",), 1.0, 9)


def test_http_check_takes_nothing_from_the_image() -> None:
    image = ImageConfig(health_test=("/in-image",), health_interval=7.0)
    found = probing(HealthCheck(kind=Check.HTTP, port=80), image)
    assert found is not None
    assert (found.command, found.interval, found.timeout, found.retries) == ((), 30.0, 30.0, 3)


def test_fast_service_is_healthy_long_before_the_first_interval() -> None:
    condition, now = play(plan(interval=30.0), passes_from=0.3)
    assert condition.health is Health.HEALTHY
    assert now == 0.5


def test_checks_that_need_no_process_are_made_earlier() -> None:
    check = Probing(kind=Check.TCP, port=80, interval=30.0)
    condition, now = play(check, passes_from=0.1)
    assert condition.health is Health.HEALTHY
    assert now < 0.15


def test_unhealthy_after_retries_counted_from_the_first_interval() -> None:
    condition, now = play(plan(interval=10.0, retries=3), passes_from=1e9)
    assert condition.health is Health.UNHEALTHY
    assert condition.failures == 3
    assert now == 30.0


def test_failures_in_the_start_period_do_not_count() -> None:
    slow = plan(interval=10.0, retries=1, start_period=60.0, start_interval=5.0)
    condition, now = play(slow, passes_from=52.0)
    assert condition.health is Health.HEALTHY
    assert now == 55.0
    assert play(slow, passes_from=1e9)[0].health is Health.UNHEALTHY


def test_one_success_forgives_and_failures_in_a_row_condemn() -> None:
    check = plan(interval=10.0, retries=2)
    condition = probed(check, Condition(started=0.0), True, "", 0.5)
    assert next_probe(check, condition) == 10.5
    condition = probed(check, condition, False, "a", 10.5)
    assert (condition.health, condition.failures) == (Health.HEALTHY, 1)
    condition = probed(check, condition, True, "", 20.5)
    assert condition.failures == 0
    for now in (30.5, 40.5):
        condition = probed(check, condition, False, "down", now)
    assert condition.health is Health.UNHEALTHY
    assert unhealthy_text(condition) == "health check failed 2 times: down"


def test_text_of_one_failure_without_output() -> None:
    condition = Condition(started=0.0, failures=1)
    assert unhealthy_text(condition) == "health check failed once"


def test_deadline() -> None:
    assert plan(interval=1.0, timeout=1.0).deadline == 60.0
    assert plan(interval=30.0, timeout=30.0, retries=3, start_period=10.0).deadline == 250.0


def test_output_is_bounded() -> None:
    condition = probed(plan(), Condition(started=0.0), False, "x" * 5000, 1.0)
    assert len(condition.output) == 300
