"""Child processes: the only place that starts any. Never a shell."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stackd.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run to its end. `env` replaces the environment; None inherits it."""

    argv: Sequence[str]
    input: bytes | None = None
    stdin: int | None = None
    """A descriptor to read from, instead of `input`."""
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    timeout: float = 60.0
    max_output: int = 16 * 1024 * 1024
    pass_fds: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Completed:
    """How it ended; output is cut at `max_output` bytes each."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def error(self) -> str:
        """The last line it wrote to stderr, for a message."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:500] if lines else f"exit code {self.code}"


async def run(command: Command) -> Completed:
    """Run to the end. Raises Unavailable when it cannot start or its timeout passes; the whole
    process group is killed then, and also when the caller is cancelled."""
    if command.input is not None:
        stdin = asyncio.subprocess.PIPE
    else:
        stdin = asyncio.subprocess.DEVNULL if command.stdin is None else command.stdin
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(command.env) if command.env is not None else None,
            cwd=command.cwd,
            start_new_session=True,
            pass_fds=command.pass_fds,
        )
    except OSError as error:
        raise Unavailable(f"{command.argv[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(command.timeout):
            stdout, stderr, _ = await asyncio.gather(
                _read(process.stdout, command.max_output),
                _read(process.stderr, command.max_output),
                _feed(process, command.input),
            )
            code = await process.wait()
    except TimeoutError as error:
        raise Unavailable(f"{command.argv[0]} did not end within {command.timeout:g}s") from error
    finally:
        if process.returncode is None:
            kill_group(process.pid)
            await process.wait()
    return Completed(code, stdout, stderr)


async def start(argv: Sequence[str], streams: tuple[int, int, int]) -> asyncio.subprocess.Process:
    """Start a long-lived child in a session of its own, with (stdin, stdout, stderr) as for
    asyncio: PIPE, DEVNULL or a descriptor. The caller waits for it. Raises Unavailable."""
    stdin, stdout, stderr = streams
    try:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except OSError as error:
        raise Unavailable(f"{argv[0]} cannot be started: {error.strerror}") from error


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    assert stream is not None
    kept = bytearray()
    while chunk := await stream.read(65536):
        kept += chunk[: max(0, limit - len(kept))]
    return bytes(kept)


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if data is None or process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


def spawn(argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a lasting process in a session of its own, its output appended to `log`; returns its
    pid. Nothing ends it when the caller ends. Raises Unavailable when it cannot start."""
    with log.open("ab", buffering=0) as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{argv[0]} cannot be started: {error.strerror}") from error
    process.returncode = 0  # the pid is watched and reaped by the caller, not by this object
    return process.pid


def kill_group(pid: int) -> None:
    """SIGKILL the process group led by `pid`, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def ended(pid: int) -> None:
    """Return when the process has ended; it is reaped if it is this process's child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(handle, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222 WNOHANG
        os.close(handle)
