"""What a lasting stackd process does to itself at its start: its name in `ps`, its descriptors.

Called by the `main` of manager, agent and keepers.
"""

import contextlib
import ctypes
import resource
from collections.abc import Sequence
from pathlib import Path

_PR_SET_NAME = 15
_ARG_START, _ARG_END = 45, 46
"""Fields 48 and 49 of /proc/PID/stat, counted from after the command's name."""


def set_title(words: Sequence[str]) -> None:
    """Show as `words` in `ps` and /proc/PID/cmdline (one argument each), cut to the room there is.

    The kernel shows what lies where the arguments were, so they are overwritten in place; no
    privilege is needed. Where that place is unknown nothing is changed.
    """
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"{words[0]}-{words[1]}".encode()[:15], 0, 0, 0)
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        if 0 < start < end:
            text = b"".join(word.encode() + b"\0" for word in words)[: end - start - 1]
            ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def raise_descriptor_limit() -> int:
    """Allow as many open files as the hard limit says; returns that."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
