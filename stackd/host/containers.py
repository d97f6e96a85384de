"""Containers as the runtime holds them, and finding those that an earlier agent left.

The host is the truth: control groups, bundles, runc's state, folders on disk.
"""

import os
import re
from dataclasses import dataclass

from stackd.aio.layout import NodeLayout
from stackd.core.model.driver import Exit, Found
from stackd.host import bundle, cgroups, exits, pidfds, reap, runc

_TASK_ID = re.compile(r"[a-z0-9]{12}")
_MONITOR_SCORE = "-999"
UNMONITORED = Exit(None, lost=exits.LOST_MONITOR, running=True)


@dataclass(slots=True)
class Container:
    """A container this agent watches. Descriptors are -1 when there is nothing to hold."""

    place: bundle.Home
    pid: int
    pidfd: int
    monitor: int
    started_at: float = 0.0
    """Monotonic seconds; 0 = not started by this agent."""
    exit: Exit | None = None
    told: bool = False
    """That it runs without its monitor has been said."""

    @property
    def running(self) -> bool:
        return self.pidfd >= 0 and not pidfds.ended(self.pidfd)

    @property
    def monitored(self) -> bool:
        return self.monitor >= 0 and not pidfds.ended(self.monitor)

    def close(self) -> None:
        """Let go of it; it runs on."""
        for handle in (self.pidfd, self.monitor):
            if handle >= 0:
                pidfds.close(handle)
        self.pidfd = self.monitor = -1

    def describe(self) -> Found:
        """What is to be told of it at the agent's start."""
        running = self.running
        started = runc.state(self.place) is not None and runc.started(self.place)
        exit = UNMONITORED if running and not self.monitored else self.exit
        cut_off = not (running or started) and runc.cut_off(self.place)
        pid = self.pid if running else 0
        return Found(self.place.id, running, started, pid, exit=exit, cut_off=cut_off)


def hold(place: bundle.Home, pid: int) -> Container:
    """A container that was just created."""
    monitor = reap.read_pid(place.bundle / "conmon.pid")
    held = pidfds.open_named(monitor, place.id)
    if held is not None:
        _protect(monitor)
    return Container(place, pid, _number(pidfds.open_if(pid)), _number(held))


def adopt(place: bundle.Home, hierarchies: cgroups.Hierarchies) -> Container:
    """A container that was there before, in whatever state it is now."""
    state = runc.state(place)
    pidfd = pidfds.open_if(state.pid, state.ticks) if state else None
    monitor = pidfds.open_named(reap.read_pid(place.bundle / "conmon.pid"), place.id)
    found = Container(
        place, state.pid if state and pidfd is not None else 0, _number(pidfd), _number(monitor)
    )
    if pidfd is None:
        found.exit = exits.read(place, hierarchies, None) or _unseen(place)
    return found


def ids(layout: NodeLayout, hierarchies: cgroups.Hierarchies) -> list[str]:
    """Every task id that has left a trace on this node (logs apart)."""
    names = cgroups.children(hierarchies, layout.cgroup)
    for folder in (layout.bundles, layout.runc, layout.containers):
        names.update(os.listdir(folder))
    return sorted(name for name in names if _TASK_ID.fullmatch(name))


def _unseen(place: bundle.Home) -> Exit:
    if not place.bundle.exists():
        return Exit(None, rebooted=True)
    return Exit(None, lost=exits.LOST if place.state.exists() else exits.HALF_MADE)


def _number(handle: int | None) -> int:
    return -1 if handle is None else handle


def _protect(pid: int) -> None:
    """Monitors go last when memory is short; not every kernel or container lets us say so."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(_MONITOR_SCORE)
    except OSError:
        return
