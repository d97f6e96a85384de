"""What stackd knows of runc's insides: its state folder, its start fifo, its exec command.

Used by the runtime. Relying on the fifo saves a process per start; when it is missing, `runc
start` is run instead.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.aio import proc
from stackd.errors import Rejected, Unavailable
from stackd.host import bundle, conmon, pidfds

_START_WITHIN = 10.0
_LOOK_FIRST = 0.001
_PID = re.compile(rb'"init_process_pid":(\d+)[,}]')
_START = re.compile(rb'"init_process_start":(\d+)[,}]')
_CUT_OFF = b"write exec fifo"
_LAST_WORDS = 512
"""Bytes at the end of a log that hold its last line."""
_INIT = "runc:["
"""How runc calls its own process in a container."""


@dataclass(frozen=True, slots=True)
class State:
    """A created container as runc recorded it."""

    pid: int
    ticks: int
    """When that process started, in clock ticks since boot."""


def state(place: bundle.Home) -> State | None:
    """None when runc has recorded nothing (also for a creation that stopped half-way)."""
    try:
        text = (place.state / "state.json").read_bytes()
    except FileNotFoundError:
        return None
    # The whole configuration is in there too, where quotes are escaped: parsing it took longer
    # than all the rest of a start.
    pid, start = _PID.search(text), _START.search(text)
    return None if pid is None or start is None else State(int(pid[1]), int(start[1]))


def started(place: bundle.Home) -> bool:
    """True once the command has been let go. Who let it go may have been killed before the start
    fifo was removed."""
    return not (place.state / "exec.fifo").exists() or _runs(state(place))


def cut_off(place: bundle.Home) -> bool:
    """Of an ended container: runc's own process was the last to speak in it, and said that nobody
    read the start fifo any more. What read it was killed between opening and reading it."""
    try:
        with place.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_WORDS))
            lines = log.read().splitlines()
    except OSError:
        return False
    return bool(lines) and _CUT_OFF in lines[-1]


def _runs(found: State | None) -> bool:
    """The command has taken the place of runc's own process."""
    if found is None or pidfds.start_ticks(found.pid) != found.ticks:
        return False
    try:
        return not Path(f"/proc/{found.pid}/comm").read_text().startswith(_INIT)
    except OSError:
        return False


async def start(place: bundle.Home, pidfd: int) -> None:
    """Let the first process go on to the command, and wait until it has: runc's own process would
    take a signal for itself. Raises Rejected when it has died meanwhile."""
    fifo = place.state / "exec.fifo"
    first = state(place)
    if _runs(first):
        fifo.unlink(missing_ok=True)
        return
    try:
        handle = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        await _start_by_command(place)
        return
    try:
        async with asyncio.timeout(_START_WITHIN):
            await _either(handle, pidfd)
            if not _released(handle):
                raise Rejected("The container ended before it was started.")
            fifo.unlink(missing_ok=True)
            # the kernel tells nobody of an exec
            pause = _LOOK_FIRST
            while not _runs(first) and not pidfds.ended(pidfd):
                await asyncio.sleep(pause)
                pause *= 2
    except TimeoutError as error:
        raise Rejected(f"The container did not start within {_START_WITHIN:g}s.") from error
    finally:
        os.close(handle)


async def _start_by_command(place: bundle.Home) -> None:
    argv = (conmon.RUNC, "--root", str(place.state.parent), "start", place.id)
    try:
        done = await proc.run(proc.Command(argv, timeout=_START_WITHIN))
    except Unavailable as error:
        raise Rejected(error.cause) from error
    if done.code != 0:
        raise Rejected(f"The container cannot be started: {done.error}.")


def _released(fifo: int) -> bool:
    """The byte is there also when the command has ended at once."""
    try:
        return os.read(fifo, 1) == b"0"
    except BlockingIOError:
        return False


async def _either(fifo: int, pidfd: int) -> None:
    """Return when the fifo can be read or the process has ended."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def fire() -> None:
        if not done.done():
            done.set_result(None)

    ended = os.dup(pidfd)
    loop.add_reader(fifo, fire)
    loop.add_reader(ended, fire)
    try:
        await done
    finally:
        loop.remove_reader(fifo)
        loop.remove_reader(ended)
        os.close(ended)


@dataclass(frozen=True, slots=True)
class ExecFiles:
    """The files of one exec, in the bundle."""

    process: Path
    log: Path
    pid: Path

    def remove(self) -> None:
        for path in (self.process, self.log, self.pid):
            path.unlink(missing_ok=True)


def exec_files(place: bundle.Home, name: str) -> ExecFiles:
    """Where the exec called `name` keeps its files."""
    return ExecFiles(*(place.bundle / f"x{name}.{end}" for end in ("json", "log", "pid")))


def exec_argv(place: bundle.Home, files: ExecFiles) -> tuple[str, ...]:
    """The command line of `runc exec`; the command itself is in the process file."""
    return (
        *(conmon.RUNC, "--root", str(place.state.parent)),
        *("--log", str(files.log), "--log-format", "json"),
        *("exec", "--pid-file", str(files.pid), "--process", str(files.process)),
        place.id,
    )


def write_process(
    place: bundle.Home,
    files: ExecFiles,
    argv: Sequence[str],
    terminal: tuple[int, int] | None = None,
) -> None:
    """The container's own process (user, limits, capabilities, environment) with other arguments;
    `terminal`: rows and columns of the one it gets, which has them before the command begins.

    Raises FileNotFoundError when the bundle has gone."""
    document = json.loads((place.bundle / "config.json").read_bytes())["process"]
    document |= {"args": list(argv), "terminal": terminal is not None}
    if terminal is not None:
        document["consoleSize"] = dict(zip(("height", "width"), terminal, strict=True))
    if terminal is not None and not any(entry.startswith("TERM=") for entry in document["env"]):
        document["env"] = [*document["env"], "TERM=xterm"]
    handle = os.open(files.process, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(document, file)


def last_error(files: ExecFiles) -> str:
    """The last error runc logged for an exec; '' when the command itself ran."""
    found = ""
    with contextlib.suppress(FileNotFoundError):
        for line in files.log.read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                    found = str(entry.get("msg", ""))
    return found
