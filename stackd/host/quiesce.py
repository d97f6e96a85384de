"""Closing a TCP port without resetting who has just connected.

The kernel completes handshakes on its own: connections that wait to be accepted are reset when
the listening socket is closed. So first the socket is told to take no more handshakes, by a filter
that drops each SYN (sent again a second later, it finds the port closed, and is refused), then what
waits is left to be accepted. Called by `host.envoy` before a listener is taken away.
"""

import ctypes
import os
import socket
import struct
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from stackd.host import listening

_ATTACH_FILTER = 26
_UNACKED = 24
"""Where TCP_INFO of a listening socket counts the connections that wait."""
_HALF_OPEN = "03"
_PIDFD_GETFD = 438
_LOOK_EVERY = 0.002

# Of the flags in byte 13 of the header: SYN without ACK is dropped, everything else passes.
_INSTRUCTIONS = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)
_libc = ctypes.CDLL(None, use_errno=True)


def quiesce(ports: Collection[int], pids: Collection[int], patience: float) -> None:
    """No new connection reaches the ports' listening sockets of these processes any more, and
    none waits to be accepted; blocks for at most `patience` seconds."""
    sockets = [found for port in ports for pid in pids for found in _sockets(port, pid)]
    try:
        for found in sockets:
            with suppress(OSError):  # the process has closed it
                _refuse_handshakes(found)
        end = time.monotonic() + patience
        while time.monotonic() < end and (any(map(_waiting, sockets)) or _half_open(ports)):
            time.sleep(_LOOK_EVERY)
    finally:
        for found in sockets:
            found.close()


def _sockets(port: int, pid: int) -> Iterator[socket.socket]:
    """Copies of the sockets by which a process listens on the port."""
    wanted = {f"socket:[{inode}]" for inode in listening.listeners(port)}
    with suppress(OSError):
        process = os.pidfd_open(pid)
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{name}") in wanted:
                    copy = _libc.syscall(_PIDFD_GETFD, process, int(name), 0)
                    if copy >= 0:
                        yield socket.socket(fileno=copy)
        finally:
            os.close(process)


def _refuse_handshakes(found: socket.socket) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _INSTRUCTIONS)
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(_INSTRUCTIONS), ctypes.addressof(kept))
    found.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


def _waiting(found: socket.socket) -> bool:
    try:
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED + 4)
    except OSError:
        return False
    (count,) = struct.unpack_from("=I", info, _UNACKED)
    return bool(count)


def _half_open(ports: Collection[int]) -> bool:
    """Handshakes that had begun: their last packet is still let in."""
    lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return any(
        fields[3] == _HALF_OPEN and int(fields[1].rsplit(":", 1)[1], 16) in ports
        for fields in map(str.split, lines)
    )
