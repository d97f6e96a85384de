"""Sleeping until rung or until a time; loops that outlive their faults."""

import asyncio
import errno

import pytest

from stackd.aio.clock import ManualClock, settle
from stackd.aio.loop import Bell, forever
from stackd.aio.tasks import together
from stackd.errors import Corrupt, Unavailable


async def test_rings_before_the_wait_are_one_wake() -> None:
    bell = Bell(ManualClock())
    bell.ring()
    bell.ring()
    await bell.wait()
    again = asyncio.ensure_future(bell.wait())
    await settle()
    assert not again.done()
    bell.ring()
    await again


async def test_a_wait_ends_at_its_time() -> None:
    clock = ManualClock()
    waiting = asyncio.ensure_future(Bell(clock).wait(10))
    await settle()
    await clock.advance(9.5)
    assert not waiting.done()
    await clock.advance(1)
    assert waiting.done()


async def test_a_ring_ends_a_wait_before_its_time_and_leaves_no_timer() -> None:
    clock = ManualClock()
    bell = Bell(clock)
    waiting = asyncio.ensure_future(bell.wait(10))
    await settle()
    bell.ring()
    await waiting
    assert clock.next_at() is None
    again = asyncio.ensure_future(bell.wait(60))
    await settle()
    await clock.advance(20)
    assert not again.done(), "the old timer rings no more"
    again.cancel()


async def test_a_cancelled_wait_leaves_no_timer() -> None:
    clock = ManualClock()
    waiting = asyncio.ensure_future(Bell(clock).wait(10))
    await settle()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert clock.next_at() is None


async def test_no_time_to_wait_returns_at_once() -> None:
    async with asyncio.timeout(5):
        await Bell(ManualClock()).wait(0)
        await Bell(ManualClock()).wait(-1)


class Failing:
    """A step that raises what it is given, then goes to sleep for good."""

    def __init__(self, clock: ManualClock, *errors: Exception) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.at: list[float] = []
        self.start = clock.now()

    async def step(self) -> None:
        self.at.append(self.clock.now() - self.start)
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.Event().wait()


async def times(clock: ManualClock, failing: Failing, seconds: float) -> list[float]:
    running = asyncio.ensure_future(forever("test", clock, failing.step))
    await settle()
    for _ in range(int(seconds)):
        await clock.advance(1)
    running.cancel()
    return failing.at


async def test_bugs_are_tried_again_after_growing_pauses() -> None:
    clock = ManualClock()
    failing = Failing(clock, *[ZeroDivisionError() for _ in range(9)])
    assert await times(clock, failing, 300) == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


async def test_unavailable_waits_as_long_as_it_says() -> None:
    clock = ManualClock()
    failing = Failing(clock, Unavailable("later", retry_after=20))
    assert await times(clock, failing, 30) == [0, 20]


async def test_what_is_unavailable_for_long_is_found_soon_when_it_is_back() -> None:
    clock = ManualClock()
    failing = Failing(clock, *[Unavailable("full") for _ in range(6)])
    assert await times(clock, failing, 30) == [0, 1, 3, 7, 12, 17, 22]


async def test_what_the_machine_lacks_for_now_is_no_bug() -> None:
    clock = ManualClock()
    failing = Failing(clock, *[OSError(errno.EMFILE, "Too many open files") for _ in range(5)])
    assert await times(clock, failing, 30) == [0, 1, 3, 7, 12, 17]


async def test_corrupt_ends_the_loop() -> None:
    clock = ManualClock()
    with pytest.raises(Corrupt):
        await forever("test", clock, Failing(clock, Corrupt("damaged")).step)


@pytest.mark.parametrize("error", [Unavailable("gone"), RuntimeError("bug")])
async def test_a_failure_in_the_moment_of_cancelling_does_not_outlive_it(error: Exception) -> None:
    async def fails_when_ended() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise error

    async def step() -> None:
        await together(fails_when_ended())  # type: ignore[arg-type]

    looping = asyncio.ensure_future(forever("x", ManualClock(), step))
    await settle()
    looping.cancel()
    await settle()
    assert looping.cancelled()


async def test_a_failed_group_is_tried_again() -> None:
    ran = 0

    async def step() -> None:
        nonlocal ran
        ran += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_once())

    async def fail_once() -> None:
        if ran == 1:
            raise RuntimeError("bug")
        await asyncio.Event().wait()

    clock = ManualClock()
    looping = asyncio.ensure_future(forever("x", clock, step))
    await settle()
    await clock.advance(1)
    await settle()
    assert (ran, looping.done()) == (2, False)
    looping.cancel()
    await asyncio.gather(looping, return_exceptions=True)
