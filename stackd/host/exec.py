"""Commands inside running containers: sessions for `stackd exec`, and health probes.

Used by the runtime. `runc exec` gives the command the container's own user, limits, capabilities
and system call filter. runc's exit code is the command's, but 255 may also be runc's own failure:
its log tells.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import signal
import struct
import termios
import tty
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from stackd.aio import proc
from stackd.core.model.driver import ExecRequest
from stackd.errors import Refused, Unavailable
from stackd.host import bundle, cgroups, pidfds, reap, runc

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_SIGNAL_BASE = 128
_PROBE_OUTPUT = 4096
_LAST_WORDS = 0.1
_RUNC_FAILED = 255


def failure(message: str) -> int | None:
    """126 or 127 for what runc says of a command that could not run; None for its own trouble."""
    if re.search(r"executable file not found|no such file or directory", message):
        return NOT_FOUND
    if re.search(r"permission denied|is a directory|exec format error", message):
        return NOT_EXECUTABLE
    return None


@dataclass(slots=True)
class Streams:
    """The descriptors of a session. With a terminal all three are its master side."""

    stdin: int
    stdout: int
    stderr: int | None
    terminal: bool

    def close(self) -> None:
        for handle in {self.stdin, self.stdout, self.stderr} - {None, -1}:
            os.close(handle if handle is not None else -1)
        self.stdin = self.stdout = -1
        self.stderr = None


async def start(place: bundle.Home, request: ExecRequest, name: str) -> "Session":
    """Run the command. Raises Refused when the task's container has gone or runc cannot start."""
    files = runc.exec_files(place, name)
    try:
        size = (request.rows, request.columns) if request.tty else None
        runc.write_process(place, files, request.argv, size)
        if request.tty:
            return await _with_terminal(place, files, request)
        return await _with_pipes(place, files)
    except (FileNotFoundError, Unavailable) as error:
        files.remove()
        raise Refused(f"The command cannot be run: {error}.", "Is the task running?") from error


async def _with_pipes(place: bundle.Home, files: runc.ExecFiles) -> "Session":
    """Pipes of our own rather than asyncio's, so that a child that outlives the command and holds
    one open cannot hold us."""
    (child_in, stdin), (stdout, child_out), (stderr, child_err) = os.pipe(), os.pipe(), os.pipe()
    streams = Streams(stdin, stdout, stderr, terminal=False)
    try:
        argv = runc.exec_argv(place, files)
        process = await proc.start(argv, (child_in, child_out, child_err))
    except Unavailable:
        streams.close()
        raise
    finally:
        for handle in (child_in, child_out, child_err):
            os.close(handle)
    return Session(place, process, files, streams)


async def _with_terminal(
    place: bundle.Home, files: runc.ExecFiles, request: ExecRequest
) -> "Session":
    """runc passes everything between a terminal of ours and the one it makes inside; ours is raw,
    so only the inner one edits lines and echoes."""
    master, slave = os.openpty()
    streams = Streams(master, master, None, terminal=True)
    try:
        tty.setraw(slave)
        _set_size(master, request.rows, request.columns)
        process = await proc.start(runc.exec_argv(place, files), (slave, slave, slave))
    except Unavailable:
        streams.close()
        raise
    finally:
        os.close(slave)
    return Session(place, process, files, streams)


def _set_size(master: int, rows: int, columns: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Session:
    """One running command; conforms to the agent's ExecSession."""

    def __init__(
        self,
        place: bundle.Home,
        process: asyncio.subprocess.Process,
        files: runc.ExecFiles,
        streams: Streams,
    ) -> None:
        self._place = place
        self._process = process
        self._files = files
        self._streams = streams
        for handle in (streams.stdin, streams.stdout, streams.stderr):
            if handle is not None and handle >= 0:
                os.set_blocking(handle, False)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Chunks of (1 stdout | 2 stderr, bytes) until the command's output ends."""
        numbered = ((1, self._streams.stdout), (2, self._streams.stderr))
        left = {number: handle for number, handle in numbered if handle is not None}
        left = {number: handle for number, handle in left.items() if handle >= 0}
        while left:
            await _ready(tuple(left.values()))
            for number, handle in list(left.items()):
                chunk = _read(handle)
                if chunk:
                    yield number, chunk
                elif chunk is not None:
                    del left[number]

    async def write(self, data: bytes) -> None:
        """To the command's stdin; b'' closes it (on a terminal: sends end-of-file)."""
        if not data and not self._streams.terminal and self._streams.stdin >= 0:
            os.close(self._streams.stdin)
            self._streams.stdin = -1
        data = data or (b"\x04" if self._streams.terminal else b"")
        while data and self._streams.stdin >= 0:
            try:
                data = data[os.write(self._streams.stdin, data) :]
            except BlockingIOError:
                await _ready((self._streams.stdin,), write=True)
            except OSError:
                return  # the command no longer reads

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the terminal its new size."""
        if self._streams.terminal and self._streams.stdin >= 0:
            _set_size(self._streams.stdin, rows, columns)
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGWINCH)

    async def code(self) -> int:
        """The command's exit code; 126, 127, 128+n as in a shell. Raises Refused.

        To be called when `output` has ended or is no longer wanted: it closes the session."""
        code = await self._process.wait()
        message = runc.last_error(self._files)
        self._release()
        if message and code == _RUNC_FAILED:
            told = failure(message)
            if told is not None:
                return told
            raise Refused(f"The command cannot be run: {message[:500]}.")
        return _SIGNAL_BASE - code if code < 0 else code

    async def wait(self) -> None:
        """Return when the command has ended, leaving its last output to be read."""
        await self._process.wait()

    async def kill(self) -> None:
        """End the command and what it started in its session."""
        if self._process.returncode is None:
            kill_session(self._place, reap.read_pid(self._files.pid))
            proc.kill_group(self._process.pid)
            await self._process.wait()
        self._release()

    def _release(self) -> None:
        self._streams.close()
        self._files.remove()


def _read(handle: int) -> bytes | None:
    """b'' at the end, None when there is nothing yet. A terminal ends with EIO."""
    try:
        return os.read(handle, 65536)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def kill_session(place: bundle.Home, leader: int) -> None:
    """SIGKILL what an exec started: everything in the container's group that is of the session it
    leads, so that neither a number used again nor the container's own processes are hit."""
    if leader <= 0:
        return
    for pid in cgroups.processes(cgroups.discover(), place.cgroup):
        if pidfds.session(pid) == leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def probe(
    place: bundle.Home, argv: Sequence[str], name: str, timeout: float
) -> tuple[int, str]:
    """Run a health command; (exit code, last 4 KiB of output). Code -1 = timed out, also when a
    child of it holds its output open for that long."""
    try:
        session = await start(place, ExecRequest(place.id, tuple(argv)), name)
    except Refused as error:
        return NOT_EXECUTABLE, error.cause
    kept = bytearray()
    reader = asyncio.ensure_future(_collect(session, kept))
    try:
        await session.write(b"")
        async with asyncio.timeout(timeout):
            await session.wait()
        await asyncio.wait((reader,), timeout=_LAST_WORDS)
        code = await session.code()
    except TimeoutError:
        code = -1
    except Refused as error:
        code, kept = NOT_EXECUTABLE, bytearray(error.cause.encode())
    finally:
        reader.cancel()
        await asyncio.wait((reader,))
        await session.kill()
    return code, kept.decode("utf-8", "replace")


async def _collect(session: Session, kept: bytearray) -> None:
    async for _, chunk in session.output():
        kept.extend(chunk)
        del kept[:-_PROBE_OUTPUT]


async def _ready(handles: Sequence[int], *, write: bool = False) -> None:
    """Return when one of the descriptors can be read (or written)."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def fire() -> None:
        if not done.done():
            done.set_result(None)

    for handle in handles:
        (loop.add_writer if write else loop.add_reader)(handle, fire)
    try:
        await done
    finally:
        for handle in handles:
            (loop.remove_writer if write else loop.remove_reader)(handle)
