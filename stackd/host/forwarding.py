"""net.ipv4.ip_forward of a host, which all clusters on it share: who needs it, what it was before.

Used by `host.uplink` and `host.leftovers`, in the thread of the namespace in question.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from stackd.host import netns


class Forwarding:
    """The claims on it in the calling thread's namespace: one locked file per namespace."""

    def __init__(self, shared: Path) -> None:
        inode = os.stat("/proc/thread-self/ns/net").st_ino
        self._shared = shared
        self._path = shared / f"ip_forward.{inode}"
        self._lock = shared / "ip_forward.lock"

    def __enter__(self) -> "Forwarding":
        while True:
            self._shared.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # removed by the last to leave
                self._file = self._lock.open("w")
                fcntl.flock(self._file, fcntl.LOCK_EX)
                if self._current():
                    return self
                self._file.close()

    def _current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._lock))
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        if os.listdir(self._shared) == [self._lock.name]:
            self._lock.unlink()
            with contextlib.suppress(OSError):  # somebody has just come
                self._shared.rmdir()
        self._file.close()

    def claim(self, owner: str) -> bool:
        """Set it to 1 and remember what it was; True if that changed it."""
        now = netns.read_sysctl("ipv4/ip_forward")
        lines = self._path.read_text().split() if self._path.exists() else [f"={now}"]
        if owner not in lines:
            self._path.write_text("\n".join((*lines, owner)))
        if now == "1":
            return False
        netns.write_sysctl("ipv4/ip_forward", "1")
        return True

    def release(self, prefix: str) -> None:
        """Give up the claims that begin so; the last one puts back what was before."""
        if not self._path.exists():
            return
        lines = [x for x in self._path.read_text().split() if not x.startswith(prefix)]
        if len(lines) > 1:
            self._path.write_text("\n".join(lines))
            return
        netns.write_sysctl("ipv4/ip_forward", lines[0].removeprefix("="))
        self._path.unlink()

    def drop(self, inode: int) -> None:
        """Forget a namespace that goes: another may get its number."""
        (self._shared / f"ip_forward.{inode}").unlink(missing_ok=True)

    def forget(self, prefix: str) -> None:
        """Strike the claims that begin so for namespaces that are gone."""
        for path in self._shared.glob("ip_forward.*[0-9]"):
            lines = [x for x in path.read_text().split() if not x.startswith(prefix)]
            if len(lines) > 1:
                path.write_text("\n".join(lines))
            else:
                path.unlink()
