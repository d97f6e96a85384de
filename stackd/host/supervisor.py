"""Keeps the processes of an embedded cluster running: the small program behind `stackd up`.

Each process is in a session of its own and found again by its pid file, so killing the
supervisor stops nothing and a new one adopts what runs.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.aio import proc
from stackd.host import pidfds

log = logging.getLogger(__name__)

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
STEADY = 5.0
"""Seconds a process must have lived for its next end to count as the first."""


@dataclass(frozen=True, slots=True)
class Program:
    """A process to keep. `word` is one of its arguments, by which it is recognised."""

    name: str
    argv: Sequence[str]
    word: str
    pid_file: Path
    log: Path
    env: Mapping[str, str] | None = None


async def nothing() -> None:
    """What a program without conditions waits for."""


async def keep(program: Program, before: Callable[[], Awaitable[None]] = nothing) -> None:
    """Adopt or start the program, and start it again whenever it ends, until cancelled. Each
    time `before` is awaited first: it returns when the program may run."""
    delay = FIRST_DELAY
    loop = asyncio.get_running_loop()
    while True:
        await before()
        handle = running(program)
        if handle is None:
            handle = _start(program)
        else:
            log.info("%s is running already", program.name)
        started = loop.time()
        try:
            await pidfds.wait_ended(handle)
        finally:
            os.close(handle)
        _reap(program)
        delay = next_delay(delay, loop.time() - started)
        log.warning("%s ended; it is started again in %.1fs", program.name, delay)
        await asyncio.sleep(delay)


def next_delay(before: float, lived: float) -> float:
    """Seconds until the next start of a process that lived for so many, when the start before it
    had waited `before`: one that stayed for a while was ended, one that did not cannot start."""
    return FIRST_DELAY if lived > STEADY else min(before * 2, LONGEST_DELAY)


def running(program: Program) -> int | None:
    """A pidfd of the program if it runs. The caller closes it."""
    return _open(program.pid_file, program.word)


def alive(pid_file: Path, word: str) -> bool:
    """Whether the process of a pid file runs; `word` is one of its arguments."""
    handle = _open(pid_file, word)
    if handle is not None:
        os.close(handle)
    return handle is not None


def _open(pid_file: Path, word: str) -> int | None:
    pid = read_pid(pid_file)
    return pidfds.open_named(pid, word) if pid else None


def read_pid(path: Path) -> int:
    """The number in a pid file; 0 when there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _start(program: Program) -> int:
    program.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    program.pid_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pid = proc.spawn(program.argv, log=program.log, env=program.env)
    handle = os.pidfd_open(pid)
    program.pid_file.write_text(f"{pid}\n")
    log.info("started %s (%d)", program.name, pid)
    return handle


def _reap(program: Program) -> None:
    """Collect our own child; adopted ones are not ours."""
    pid = read_pid(program.pid_file)
    with contextlib.suppress(ChildProcessError):
        if pid:
            os.waitpid(pid, os.WNOHANG)
