"""When the keeper starts Envoy again."""

from stackd.host.envoy import HEALTHY, Restarts


def test_one_end_is_answered_at_once_also_soon_after_the_start() -> None:
    restarts = Restarts()
    assert restarts.pause(0.1) == 0
    assert restarts.pause(HEALTHY) == 0
    assert restarts.pause(0.1) == 0


def test_an_envoy_that_does_not_stay_is_started_less_and_less_often() -> None:
    restarts = Restarts()
    assert [restarts.pause(0.1) for _ in range(5)] == [0, 0.2, 0.4, 0.8, 1.6]
    assert restarts.pause(HEALTHY) == 0
    assert [restarts.pause(0.1) for _ in range(3)] == [0, 0.2, 0.4]
