"""The system's clock: never behind what it was told."""

from stackd.aio.clock import SystemClock


def test_at_least() -> None:
    clock = SystemClock()
    begin = clock.now()
    clock.at_least(begin - 1000)
    assert begin <= clock.now() < begin + 500
    clock.at_least(begin + 1000)
    assert begin + 1000 <= clock.now() < begin + 1500
