"""Processes by descriptor, so that a number used again never hits a stranger.

Used by the runtime for containers and their monitors, which are not its children.
"""

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import struct
from pathlib import Path

_GET_INFO = 0xC040FF0B
_INFO_EXIT = 1 << 3
_INFO_SIZE = 64
_STATUS_AT = 60

_libc = ctypes.CDLL(None, use_errno=True)


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when it is not there."""
    return _field(pid, 19)


def session(pid: int) -> int:
    """The leader of the process's session; 0 when it is not there."""
    return _field(pid, 3)


def _field(pid: int, number: int) -> int:
    """A number of /proc/PID/stat, counted from the state as 0."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.rpartition(")")[2].split()[number])


def open_if(pid: int, started: int = 0) -> int | None:
    """A pidfd, if that process lives and (when given) started at that tick."""
    if pid <= 0:
        return None
    try:
        handle = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if started and start_ticks(pid) != started:
        os.close(handle)
        return None
    return handle


def open_named(pid: int, word: str) -> int | None:
    """A pidfd, if that process lives and has `word` as one of its arguments."""
    handle = open_if(pid)
    if handle is None:
        return None
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        arguments = []
    if word.encode() in arguments:
        return handle
    os.close(handle)
    return None


def ended(handle: int) -> bool:
    """True once the process has ended."""
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(0))


async def wait_ended(*handles: int) -> None:
    """Return when one of the processes has ended. The descriptors may be closed meanwhile."""
    copies = [os.dup(handle) for handle in handles]
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def fire() -> None:
        if not done.done():
            done.set_result(None)

    try:
        for copy in copies:
            loop.add_reader(copy, fire)
        await done
    finally:
        for copy in copies:
            loop.remove_reader(copy)
            os.close(copy)


def wait_ended_blocking(handle: int, timeout: float) -> bool:
    """Wait at most `timeout` seconds, for use in a thread; True when it has ended."""
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(max(0, int(timeout * 1000))))


def send(handle: int, number: int) -> None:
    """Send a signal; nothing happens when the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def wait_status(handle: int) -> int | None:
    """The wait status of an ended and reaped process that is not our child; None while it is not
    reaped, and on kernels before 6.15."""
    buffer = ctypes.create_string_buffer(_INFO_SIZE)
    struct.pack_into("<Q", buffer, 0, _INFO_EXIT)
    if _libc.ioctl(handle, ctypes.c_ulong(_GET_INFO), buffer) != 0:
        return None
    mask, status = (
        struct.unpack_from("<Q", buffer, 0)[0],
        struct.unpack_from("<i", buffer, _STATUS_AT)[0],
    )
    return int(status) if mask & _INFO_EXIT else None


def close(handle: int) -> None:
    """Give the descriptor back."""
    os.close(handle)
