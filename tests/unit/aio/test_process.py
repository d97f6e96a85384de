"""Where a suspended task stands."""

import asyncio
import inspect

from stackd.aio.process import standing


async def inner() -> None:
    await asyncio.Event().wait()


async def outer() -> None:
    await inner()


async def test_every_call_down_to_what_is_waited_for() -> None:
    task = asyncio.ensure_future(outer())
    await asyncio.sleep(0)
    line = inspect.getsourcelines(inner)[1] + 1
    found = standing(task.get_coro())
    assert found[1] == f"test_process.inner:{line}"
    assert [place.rpartition(":")[0] for place in found] == [
        *("test_process.outer", "test_process.inner", "locks.Event.wait"),
    ]
    task.cancel()


def test_what_is_no_coroutine_stands_nowhere() -> None:
    assert standing(None) == []
    assert standing(object()) == []
