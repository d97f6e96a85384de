"""How a container ended, from what its monitor and the kernel left behind.

Used by the runtime, for containers it watched and for those it finds at its start.
"""

import os

from stackd.core.model.driver import Exit
from stackd.host import bundle, cgroups, pidfds

_SIGNAL_BASE = 128
LOST_MONITOR = "Its monitor was killed: output and exit code are lost."
LOST = "It ended while nobody watched."
HALF_MADE = "It was being created when the node stopped."


def read(place: bundle.Home, hierarchies: cgroups.Hierarchies, pidfd: int | None) -> Exit | None:
    """The exit of an ended container; None when neither the monitor's file nor the kernel knows.

    The file holds the code alone, where 137 may be a signal or a choice; the kernel's wait status
    (Linux 6.15) tells, and stands in when there is no file.
    """
    code = _code(place)
    status = None if pidfd is None else pidfds.wait_status(pidfd)
    if status is not None:
        signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = _SIGNAL_BASE + signal if signal else os.WEXITSTATUS(status)
    elif code is not None:
        signal = code - _SIGNAL_BASE if _SIGNAL_BASE < code <= _SIGNAL_BASE + 64 else 0
    else:
        return None
    return Exit(code=code, signal=signal, oom_killed=_oom(place, hierarchies))


def _code(place: bundle.Home) -> int | None:
    for path in (place.exit_file, place.bundle / "exit"):
        try:
            return int(path.read_text())
        except (FileNotFoundError, ValueError):
            continue
    return None


def _oom(place: bundle.Home, hierarchies: cgroups.Hierarchies) -> bool:
    """conmon leaves a file when any process of the container was killed for lack of memory."""
    return (place.bundle / "oom").exists() or cgroups.oom_kills(hierarchies, place.cgroup) > 0
