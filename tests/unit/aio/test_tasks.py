"""Tasks that stand and fall together, and those that belong to an object."""

import asyncio
from typing import NoReturn

import pytest

from stackd.aio.clock import settle
from stackd.aio.tasks import Background, together
from stackd.errors import Corrupt, Unavailable


async def fail(error: Exception) -> NoReturn:
    raise error


class Endless:
    """Runs until cancelled and says so."""

    def __init__(self) -> None:
        self.ended = False

    async def run(self) -> NoReturn:
        try:
            while True:
                await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_the_first_failure_ends_the_others_and_is_raised_as_itself() -> None:
    endless = Endless()
    with pytest.raises(Unavailable, match="gone"):
        await together(endless.run(), fail(Unavailable("gone")))
    assert endless.ended


async def test_corrupt_comes_before_any_other_failure() -> None:
    with pytest.raises(Corrupt):
        await together(
            fail(Unavailable("gone")), together(Endless().run(), fail(Corrupt("damaged")))
        )


async def test_cancelling_ends_all() -> None:
    one, two = Endless(), Endless()
    running = asyncio.ensure_future(together(one.run(), two.run()))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (one.ended, two.ended) == (True, True)


async def test_background_tasks_end_with_their_owner() -> None:
    endless = Endless()
    background = Background()
    background.start(endless.run(), "endless")
    await settle()
    await background.close()
    assert endless.ended


async def test_a_background_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()
    background.start(fail(ZeroDivisionError("bug")), "the reader")
    await settle()
    await background.close()
    assert "the reader failed" in caplog.text
