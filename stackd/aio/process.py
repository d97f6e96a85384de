"""What a lasting stackd process does to itself at its start: its name in `ps`, its descriptors,
and how it shows where it stands.

Called by the `main` of manager, agent and keepers.
"""

import asyncio
import contextlib
import ctypes
import faulthandler
import logging
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_PR_SET_NAME = 15
_ARG_START, _ARG_END = 45, 46
"""Fields 48 and 49 of /proc/PID/stat, counted from after the command's name."""
_DEEPEST = 30


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


def show_on_signal() -> None:
    """From now on SIGUSR2 has it write where it stands: each thread to standard error, also when
    the event loop is stuck, and each task of the running loop to the log."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, _show_tasks)
    faulthandler.register(signal.SIGUSR2, all_threads=True, chain=True)


def _show_tasks() -> None:
    for task in asyncio.all_tasks():
        log.info("task %s waits in %s", task.get_name(), " > ".join(standing(task.get_coro())))


def standing(awaited: Any) -> list[str]:
    """Where a suspended coroutine stands, from the outermost call in: `file.function:line`."""
    found: list[str] = []
    while awaited is not None and len(found) < _DEEPEST:
        kind = next((k for k in ("cr", "gi", "ag") if hasattr(awaited, f"{k}_frame")), "")
        frame = getattr(awaited, f"{kind}_frame", None)
        if frame is not None:
            place = Path(frame.f_code.co_filename).stem
            found.append(f"{place}.{frame.f_code.co_qualname}:{frame.f_lineno}")
        inner = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
        awaited = getattr(awaited, inner, None)
    return found
