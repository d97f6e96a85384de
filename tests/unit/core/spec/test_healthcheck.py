import pytest

from stackd.core.model.container import Check, HealthCheck
from tests.unit.core.spec.stacks import faults, service


def check(text: str) -> HealthCheck:
    found = service(f"healthcheck: {text}").container.healthcheck
    assert found is not None
    return found


def test_commands() -> None:
    assert check("{test: [CMD, /bin/x, 1]}").command == ("/bin/x", "1")
    assert check("{test: [CMD-SHELL, a b]}").command == ("/bin/sh", "-c", "a b")
    assert check("{test: a b}").command == ("/bin/sh", "-c", "a b")


def test_probes_from_the_node() -> None:
    assert check("{http: {path: /h, port: 80}}") == HealthCheck(kind=Check.HTTP, path="/h", port=80)
    assert check("{http: {port: 80}}").path == "/"
    assert check("{tcp: {port: 80}}") == HealthCheck(kind=Check.TCP, port=80)


def test_off() -> None:
    assert check("{test: [NONE]}") == HealthCheck(disabled=True)
    assert check("{disable: yes}") == HealthCheck(disabled=True)
    assert service("init: true").container.healthcheck is None


def test_times_inherit_when_absent_or_zero() -> None:
    times = "{interval: 2s, timeout: 0s, retries: 0, start_period: 0s, start_interval: 1s}"
    assert check(times) == HealthCheck(interval=2.0, start_period=0.0, start_interval=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{test: []}", "4:25 a test is a text"),
        ("{test: [RUN, x]}", "a test is a text"),
        ("{test: [CMD]}", "a test is a text"),
        ("{http: {path: /h}}", "port is missing"),
        ("{http: {port: 80, path: h}}", "it starts with /"),
        ("{http: {port: 80}, tcp: {port: 80}}", "http and tcp are both given"),
        ("{tcp: {port: 80}, disable: true}", "disable stands beside a check"),
        ("{interval: 5}", "needs a unit"),
        ("{retries: -1}", "out of range"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"healthcheck: {text}")
