"""Ids are unique, of one form, and sort in the order in which they were made."""

import itertools
import re

from stackd.aio.clock import ManualClock
from stackd.aio.ids import base36, fresh_ids, made_at


async def test_ids_of_one_moment_and_of_later_ones_are_in_order() -> None:
    clock = ManualClock()
    ids = fresh_ids(clock)
    made = list(itertools.islice(ids, 60_000))
    await clock.advance(1.0)
    made += itertools.islice(ids, 100)
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[a-z0-9]{12}", found) for found in made)


async def test_a_clock_that_goes_back_makes_no_id_twice() -> None:
    later, earlier = ManualClock(1_800_000_000.0), ManualClock(1_700_000_000.0)

    class Stepping:
        """Goes back by years after the first look."""

        def __init__(self) -> None:
            self.clocks = [later, earlier, earlier]

        def now(self) -> float:
            return self.clocks.pop(0).now()

        async def sleep(self, seconds: float) -> None:
            await later.sleep(seconds)

    ids = fresh_ids(Stepping())
    first, second, third = itertools.islice(ids, 3)
    assert first < second < third


def test_base_36() -> None:
    assert [base36(n, 3) for n in (0, 35, 36, 36**3 - 1)] == ["000", "00z", "010", "zzz"]


def test_who_goes_on_from_the_moment_of_an_id_makes_greater_ones() -> None:
    clock = ManualClock(1_700_000_000.123)
    last = list(itertools.islice(fresh_ids(clock), 500))[-1]
    for _ in range(20):
        assert next(fresh_ids(ManualClock(made_at(last)))) > last
