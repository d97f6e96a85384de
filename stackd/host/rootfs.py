"""Looking into a root file system that a stranger wrote, without ever leaving it.

Used before each start: the preflight that stands in for unfixed runtime faults, the reading of
/etc/passwd and /etc/group, and the resolving of mount targets. Everything goes through openat2
with RESOLVE_IN_ROOT, so no symlink leads outside.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackd.errors import Rejected

_OPENAT2 = 437
_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_BENEATH = 0x08
_IN_ROOT = 0x10
_LARGEST = 1024 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    done = int(
        _libc.syscall(
            ctypes.c_long(_OPENAT2),
            folder,
            os.fsencode(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return done


@contextmanager
def opened(root: Path) -> Iterator["Root"]:
    """A handle on a mounted root."""
    handle = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Root(handle)
    finally:
        os.close(handle)


@contextmanager
def beneath(root: Path, path: str) -> Iterator[int]:
    """A descriptor of `path` below `root` where no part is a symlink. Raises OSError."""
    with opened(root) as top:
        flags, resolve = os.O_PATH, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS
        handle = _openat2(top.handle, path.lstrip("/") or ".", flags, resolve)
    try:
        yield handle
    finally:
        os.close(handle)


class Root:
    """A root file system held by an O_PATH descriptor."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def preflight(self) -> None:
        """/proc, /sys and /dev must be folders or absent. Raises Rejected."""
        for name in ("proc", "sys", "dev"):
            try:
                found = os.stat(name, dir_fd=self.handle, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise Rejected(
                    f"/{name} of the image is not a folder.", "Use an image that is built soundly."
                )

    def open(self, path: str, flags: int) -> int:
        """A descriptor of `path`, all symlinks resolved inside the root. Raises OSError."""
        return _openat2(self.handle, path, flags, _IN_ROOT | _NO_MAGICLINKS)

    def read_text(self, path: str) -> str:
        """The text of a regular file of at most 1 MiB; '' when there is none. Raises Rejected."""
        try:
            handle = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                return ""
            raise Rejected(f"{path} of the image cannot be read: {error.strerror}.") from error
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise Rejected(
                    f"{path} of the image is not a regular file of at most 1 MiB.",
                    "Use an image that is built soundly.",
                )
            return os.read(handle, _LARGEST).decode("utf-8", "replace")
        finally:
            os.close(handle)

    def set_mode(self, path: str, mode: int) -> None:
        """Change the mode of a folder, if it is there: runc gives a tmpfs the mode of the folder
        that it covers, whatever was asked."""
        try:
            handle = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return
        try:
            os.fchmod(handle, mode)
        finally:
            os.close(handle)

    def real(self, path: str) -> str:
        """`path` with the symlinks of its existing part resolved, as seen inside the root.

        Raises Rejected for a dangling symlink, whose end would be made by whoever mounts there.
        """
        rest: list[str] = []
        current = path
        while True:
            try:
                handle = self.open(current, os.O_PATH)
            except FileNotFoundError:
                if self._is_link(current):
                    raise Rejected(
                        f"{current} of the image is a symlink to nowhere.", "Mount elsewhere."
                    ) from None
                current, _, last = current.rpartition("/")
                current = current or "/"
                rest.insert(0, last)
                continue
            except OSError as error:
                raise Rejected(f"{path} cannot be a mount target: {error.strerror}.") from error
            inside = self._inside(handle)
            return "/" + "/".join(part for part in (inside.strip("/"), *rest) if part)

    def _inside(self, handle: int) -> str:
        try:
            top = os.readlink(f"/proc/self/fd/{self.handle}")
            return os.readlink(f"/proc/self/fd/{handle}")[len(top.rstrip("/")) :]
        finally:
            os.close(handle)

    def _is_link(self, path: str) -> bool:
        try:
            handle = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return stat.S_ISLNK(os.fstat(handle).st_mode)
        finally:
            os.close(handle)
