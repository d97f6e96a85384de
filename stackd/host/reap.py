"""Removing every trace of a container from its id alone, whatever state it was left in.

Called by the runtime for each removal and after each failed creation, and by `found` for what has
no assignment. It needs no state of runc's: `runc delete -f` leaves half-made containers behind.
Blocks for milliseconds to seconds: run it in a thread.
"""

from pathlib import Path

from stackd.errors import Unavailable
from stackd.host import bundle, cgroups, pidfds

_MONITOR_PATIENCE = 2.0
_KILL_PATIENCE = 10.0
_SIGKILL = 9


def reap(place: bundle.Home, hierarchies: cgroups.Hierarchies) -> None:
    """Kill, then remove. Raises Unavailable when something cannot be removed yet.

    A monitor whose container was created sees it end and writes the exit file by itself; one that
    is still creating is killed first, or more processes would appear meanwhile.
    """
    monitor = pidfds.open_named(read_pid(place.bundle / "conmon.pid"), place.id)
    try:
        if monitor is not None and (place.state / "state.json").exists():
            cgroups.kill(hierarchies, place.cgroup, _KILL_PATIENCE)
            pidfds.wait_ended_blocking(monitor, _MONITOR_PATIENCE)
        if monitor is not None:
            pidfds.send(monitor, _SIGKILL)
            pidfds.wait_ended_blocking(monitor, _MONITOR_PATIENCE)
    finally:
        if monitor is not None:
            pidfds.close(monitor)
    if not cgroups.kill(hierarchies, place.cgroup, _KILL_PATIENCE):
        raise Unavailable(
            f"Processes of task {place.id} do not end.", "See the kernel log of the node."
        )
    if not cgroups.remove(hierarchies, place.cgroup):
        raise Unavailable(f"The control group of task {place.id} is busy.")
    try:
        bundle.remove(place)
    except OSError as error:
        raise Unavailable(
            f"The files of task {place.id} cannot be removed: {error}.",
            "Look at the disk of the node.",
        ) from error


def read_pid(path: Path) -> int:
    """The number in a pid file; 0 when there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
