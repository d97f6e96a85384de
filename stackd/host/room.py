"""How much room is left on a disk. Used by the agent, which tells before things fail."""

import os
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
