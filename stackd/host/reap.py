"""Removing every trace of a container from its id alone, whatever state it was left in.

Called by the runtime for each removal and after each failed creation, and by `found` for what has
no assignment. It needs no state of runc's: `runc delete -f` leaves half-made containers behind.
Blocks for milliseconds to seconds: run it in a thread.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from stackd.errors import Unavailable
from stackd.host import bundle, cgroups, conmon, pidfds

_MONITOR_PATIENCE = 2.0
_KILL_PATIENCE = 10.0
_LOOK_EVERY = 0.001
_SIGKILL = 9


def reap(place: bundle.Home, hierarchies: cgroups.Hierarchies) -> None:
    """Kill, then remove. Raises Unavailable when something cannot be removed yet.

    A monitor whose container was created sees it end and writes the exit file by itself; one that
    is still creating is killed first, or more processes would appear meanwhile.
    """
    noted = read_pid(place.bundle / "conmon.pid")
    made = (place.state / "state.json").exists()
    monitor = pidfds.open_named(noted, place.id)
    try:
        if monitor is not None and made:
            cgroups.kill(hierarchies, place.cgroup, _KILL_PATIENCE)
            pidfds.wait_ended_blocking(monitor, _MONITOR_PATIENCE)
        if monitor is not None:
            pidfds.send(monitor, _SIGKILL)
            pidfds.wait_ended_blocking(monitor, _MONITOR_PATIENCE)
    finally:
        if monitor is not None:
            pidfds.close(monitor)
    if not (noted and made):
        _end_makers(place.id)
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
            f"The files of task {place.id} cannot be removed: {error.strerror or error}.",
            "Look at the disk of the node.",
        ) from error


def _end_makers(task: str) -> None:
    """Kill monitors and runc's commands that may still be making the container: who asked for
    them was killed before it knew of them. Raises Unavailable."""
    deadline = time.monotonic() + _KILL_PATIENCE
    while found := list(_makers(task)):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, _SIGKILL)
        if time.monotonic() > deadline:
            raise Unavailable(f"Processes that make task {task} do not end.")
        time.sleep(_LOOK_EVERY)


def _makers(task: str) -> Iterator[int]:
    programs, word = (conmon.CONMON.encode(), conmon.RUNC.encode()), task.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            if arguments[0] in programs and word in arguments:
                yield int(folder.name)


def read_pid(path: Path) -> int:
    """The number in a pid file; 0 when there is none."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
