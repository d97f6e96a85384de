"""Whether a TCP port can be listened on, and who holds it if not.

Called by `host.envoy` before a port is published: two programs that share a port by SO_REUSEPORT
are both let in by the kernel, so Envoy's own attempt would prove nothing.
"""

import os
import re
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

_LISTEN = "0A"


def free(port: int) -> bool:
    """Nobody listens on the port at any address; remains of old connections do not matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holders(port: int) -> list[int]:
    """Pids of the processes that listen on the port in this network namespace, ascending."""
    inodes = {f"socket:[{inode}]" for inode in listeners(port)}
    return sorted(pid for pid in _pids() if inodes & set(_links(pid))) if inodes else []


def listens(pid: int, ports: Collection[int]) -> bool:
    """Whether the process listens on one of the ports."""
    inodes = {f"socket:[{inode}]" for port in ports for inode in listeners(port)}
    return bool(inodes & set(_links(pid)))


def problem(port: int, own: Collection[int]) -> str:
    """'' if the port is free or held only by processes in `own`; else one sentence of who holds
    it and one of what to do."""
    if free(port):
        return ""
    strangers = [pid for pid in holders(port) if pid not in own]
    if not strangers and any(pid in own for pid in holders(port)):
        return ""
    who = ", ".join(f"{_name(pid)} (pid {pid})" for pid in strangers) or "an unknown process"
    return f"Port {port} is held by {who}. Stop it or publish another port."


def listeners(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on the port in this network namespace."""
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                yield fields[9]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _links(pid: int) -> Iterator[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    yield os.readlink(entry.path)
                except OSError:
                    continue
    except OSError:
        return


def _name(pid: int) -> str:
    try:
        return re.sub(r"[^\x20-\x7e]", "?", Path(f"/proc/{pid}/comm").read_text().strip())
    except OSError:
        return "a process that has ended"
