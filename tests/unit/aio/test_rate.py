"""Token buckets: a burst at once, then a steady rate, in bounded memory."""

from stackd.aio import rate
from stackd.aio.clock import ManualClock
from stackd.aio.rate import Buckets


async def test_burst_then_rate() -> None:
    clock = ManualClock()
    buckets = Buckets(clock, 0.5, 3)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2.0]
    assert buckets.take("b") == 0  # each for itself
    await clock.advance(1.5)
    assert buckets.take("a") == 0.5
    await clock.advance(0.5)
    assert [buckets.take("a"), buckets.take("a")] == [0, 2.0]


async def test_a_bucket_fills_to_its_burst_only() -> None:
    clock = ManualClock()
    buckets = Buckets(clock, 1, 2)
    buckets.take("a")
    await clock.advance(1000)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1.0]


async def test_asking_takes_nothing() -> None:
    buckets = Buckets(ManualClock(), 1, 1)
    assert [buckets.wait("a") for _ in range(5)] == [0] * 5
    assert buckets.take("a") == 0
    assert buckets.wait("a") == 1.0


async def test_the_busiest_stay_bounded_however_many_come_by() -> None:
    clock = ManualClock()
    buckets = Buckets(clock, 1, 2)
    for number in range(2 * rate.MOST_NAMES):
        buckets.take(f"stranger-{number}")
        buckets.take("busy")
    assert buckets.wait("busy") == 1.0
    assert len(vars(buckets)["_buckets"]) <= rate.MOST_NAMES
