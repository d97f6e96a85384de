"""Mounting through the kernel's own calls, since each tool run would cost a process.

Used by the runtime for tmpfs, binds and overlays, and by `noderun` for the node's own tmpfs.
"""

import contextlib
import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.errors import Rejected, Unavailable

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_PRIVATE = 1 << 18
_MNT_DETACH = 2

_FSOPEN, _FSCONFIG, _FSMOUNT, _MOVE_MOUNT = 430, 431, 432, 429
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_STRING, _CMD_CREATE = 1, 6
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100
_PAGE = 4096

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    if done != 0:
        _fail(target)


def unmount(target: str | Path) -> bool:
    """Detach what is mounted on `target`; False when nothing is. Raises OSError."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH) == 0:
        return True
    number = ctypes.get_errno()
    if number in (22, 2):  # EINVAL: not a mount point, ENOENT: not there
        return False
    raise OSError(number, os.strerror(number), str(target))


def unmount_all(target: str | Path) -> None:
    """Detach every mount stacked on `target`."""
    while unmount(target):
        pass


def is_mounted(target: Path) -> bool:
    """True when `target` is the root of a mount of its own."""
    try:
        return os.stat(target).st_dev != os.stat(target.parent).st_dev
    except FileNotFoundError:
        return False


def bind(source: str, target: str) -> None:
    """Bind one file or folder, not what is mounted below it. Raises OSError."""
    mount(source, target, "none", MS_BIND)


def secret_tmpfs(target: Path, size: int, inodes: int) -> None:
    """A file system in memory that is never swapped: tmpfs with noswap, else ramfs. `size` in
    bytes. Raises OSError."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    try:
        options = f"noswap,mode=0755,size={size},nr_inodes={inodes}"
        mount("stackd", str(target), "tmpfs", flags, options)
    except OSError as error:
        if error.errno != 22:
            raise
        mount("stackd", str(target), "ramfs", flags, "mode=0755")


@dataclass(frozen=True, slots=True)
class Overlay:
    """Folders of an overlay; `lower` highest first."""

    lower: Sequence[Path]
    upper: Path
    work: Path
    target: Path


def overlay(wanted: Overlay) -> None:
    """Mount an overlay. Tries one call per lower folder, which has no length limit; kernels before
    6.8 know only the option string, which must fit one page. Raises Rejected, Unavailable."""
    try:
        if not overlay_by_calls(wanted):
            overlay_by_option(wanted)
    except OSError as error:
        raise Unavailable(
            f"The root file system cannot be mounted: {error.strerror}.",
            "See the kernel log of the node.",
        ) from error


def overlay_by_calls(wanted: Overlay) -> bool:
    """One call per lower folder; False when this kernel does not know `lowerdir+`. Raises
    OSError."""
    context = _call(_FSOPEN, b"overlay", _FSOPEN_CLOEXEC)
    try:
        with contextlib.ExitStack() as stack:
            try:
                for folder in wanted.lower:
                    _set(context, "lowerdir+", str(folder))
            except OSError as error:
                if error.errno == 22:
                    return False
                raise
            _set(context, "upperdir", str(wanted.upper))
            _set(context, "workdir", str(wanted.work))
            _call(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
            mounted = _call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
            stack.callback(os.close, mounted)
            target = str(wanted.target).encode()
            _call(_MOVE_MOUNT, mounted, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH)
            return True
    finally:
        os.close(context)


def overlay_by_option(wanted: Overlay) -> None:
    """The older way: all folders in one page of text, made short by naming descriptors. Raises
    OSError, Rejected."""
    with contextlib.ExitStack() as stack:
        names = []
        for folder in (*wanted.lower, wanted.upper, wanted.work):
            handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            names.append(f"/proc/self/fd/{handle}")
        *lower, upper, work = names
        options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
        if len(options) >= _PAGE:
            raise Rejected(
                f"The image has {len(lower)} layers, more than this kernel can mount.",
                "Squash the image or use Linux 6.8 or newer.",
            )
        mount("overlay", str(wanted.target), "overlay", 0, options)


def _set(context: int, key: str, value: str) -> None:
    _call(_FSCONFIG, context, _SET_STRING, key.encode(), value.encode(), 0)


def _call(number: int, *arguments: object) -> int:
    done = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if done < 0:
        _fail("")
    return done


def _fail(target: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), target)
