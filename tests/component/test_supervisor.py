"""Keeping processes: started again when they end, adopted when they run, left alone at the end."""

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.aio import proc
from stackd.host import supervisor
from stackd.host.supervisor import Program

SCRIPT = "import sys, time; print('began', flush=True); time.sleep(300)"


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    word = f"kept-{uuid.uuid4().hex}"
    made = Program(
        "sleeper", (sys.executable, "-c", SCRIPT, word), word, tmp_path / "run" / "x.pid",
        tmp_path / "logs" / "x.log",
    )  # fmt: skip
    yield made
    handle = supervisor.running(made)
    if handle is not None:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
        await proc.ended(supervisor.read_pid(made.pid_file))


@contextlib.asynccontextmanager
async def kept(program: Program) -> AsyncIterator[None]:
    keeping = asyncio.ensure_future(supervisor.keep(program))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def begun(program: Program, but: int = 0) -> int:
    """The pid of the program that runs, once it is another one than `but`."""
    while True:
        pid = supervisor.read_pid(program.pid_file)
        handle = supervisor.running(program) if pid not in (0, but) else None
        if handle is not None:
            os.close(handle)
            return pid
        await asyncio.sleep(0.01)


async def told(program: Program, times: int) -> None:
    """Return when that many have said that they began."""
    while program.log.read_text().count("began") < times:  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)


async def test_what_ends_is_started_again(program: Program) -> None:
    async with kept(program):
        first = await begun(program)
        await told(program, 1)
        os.kill(first, signal.SIGKILL)
        assert await begun(program, but=first) != first
        await told(program, 2)  # the log goes on


def test_only_what_does_not_stay_waits_longer_each_time() -> None:
    delay, waits = supervisor.FIRST_DELAY, []
    for _ in range(8):
        delay = supervisor.next_delay(delay, lived=1.0)
        waits.append(delay)
    assert waits == sorted(waits)
    assert waits[-1] == supervisor.LONGEST_DELAY
    assert supervisor.next_delay(delay, lived=6.0) == supervisor.FIRST_DELAY


async def test_it_outlives_its_keeper_and_is_adopted_by_the_next(program: Program) -> None:
    async with kept(program):
        first = await begun(program)
    async with kept(program):
        await asyncio.sleep(0)
        assert await begun(program) == first
        os.kill(first, signal.SIGKILL)  # an adopted one is watched as well
        assert await begun(program, but=first) != first


async def test_a_pid_that_now_belongs_to_something_else_is_not_taken_for_it(
    program: Program,
) -> None:
    program.pid_file.parent.mkdir()
    program.pid_file.write_text(f"{os.getpid()}\n")
    assert supervisor.running(program) is None
    async with kept(program):
        assert await begun(program, but=os.getpid()) != os.getpid()


@pytest.mark.parametrize("text", ["", "x", "999999999\n"])
async def test_a_pid_file_that_says_nothing(program: Program, text: str) -> None:
    program.pid_file.parent.mkdir()
    program.pid_file.write_text(text)
    assert supervisor.running(program) is None


async def test_it_is_started_only_when_it_may_run(program: Program) -> None:
    allowed = asyncio.Event()

    async def before() -> None:
        await allowed.wait()

    keeping = asyncio.ensure_future(supervisor.keep(program, before))
    try:
        for _ in range(20):
            await asyncio.sleep(0)
        assert not program.pid_file.exists()
        allowed.set()
        await begun(program)
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
