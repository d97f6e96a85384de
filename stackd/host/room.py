"""What a machine runs out of: room on its disk, descriptors, memory.

The agent tells of a full disk before things fail; the drivers ask which failures will pass.
"""

import errno
import os
import re
from pathlib import Path

BYTES = 16 * 1024 * 1024
INODES = 100
"""Fewer than these are told."""


def shortage(path: Path) -> str:
    """A sentence when the file system of `path` has hardly any room left, else ''."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}."
    room = found.f_bavail * found.f_frsize
    if room < BYTES:
        return f"the disk of {path} is full: {room // 1024} KiB are left."
    if found.f_files and found.f_favail < INODES:
        return f"the disk of {path} has no room for more files: {found.f_favail} inodes are left."
    return ""


_PASSING = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
)
_SAID = re.compile("|".join(re.escape(os.strerror(number)) for number in _PASSING), re.IGNORECASE)


def passing(error: OSError | str) -> bool:
    """Whether a failure (or what a program says of one) is for want of something that may be
    there again later, and says nothing of what was asked for."""
    return _SAID.search(error) is not None if isinstance(error, str) else error.errno in _PASSING
