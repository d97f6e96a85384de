"""What a node does next with one task. Pure: `agent.task` tells what is, this says what to do.

A task is prepared as soon as it is known, held until it is wanted running, started, watched, and,
once asked to go or ended by itself, cleaned up. An end is reported only after the container is
gone, so that who sees it may use what it held.
"""

import enum

from stackd.core.model.driver import Exit
from stackd.core.model.record import Value
from stackd.core.model.states import TaskState

PREPARE_SECONDS = 600.0
KILL_SECONDS = 10.0
"""A killed container must be gone after this, or it is removed with whatever is left."""


class Act(enum.Enum):
    """The next thing to do."""

    PREPARE = "prepare"
    EXPIRE = "expire"
    """The stage has taken too long: it has failed."""
    WAIT = "wait"
    START = "start"
    STOP = "stop"
    KILL = "kill"
    CLEAN = "clean"
    DONE = "done"


class Stage(enum.Enum):
    """How far the container is."""

    NOTHING = "nothing"
    PREPARING = "preparing"
    PREPARED = "prepared"
    STARTING = "starting"
    STARTED = "started"
    ENDED = "ended"
    """It has exited, or could not be made: cleaning is all that is left."""
    CLEANING = "cleaning"
    CLEAN = "clean"


class Situation(Value, frozen=True, kw_only=True):
    """All that the next act depends on. Times on the node's clock, in seconds."""

    stage: Stage
    wanted: TaskState
    now: float
    grace: float = 10.0
    forgotten: bool = False
    """No longer assigned to this node: no grace, nothing to report."""
    doomed: bool = False
    """It has failed while its container runs (unhealthy, too late): stop it."""
    preparing_since: float = 0
    stopping_since: float | None = None
    killed_at: float | None = None


class Next(Value, frozen=True, kw_only=True):
    """What to do, and when to look again if nothing happens."""

    act: Act
    wake_at: float | None = None


def next_action(now: Situation) -> Next:
    """The next act for a task in this situation."""
    leaving = now.forgotten or now.doomed or now.wanted >= TaskState.SHUTDOWN
    match now.stage:
        case Stage.NOTHING:
            return Next(act=Act.CLEAN if leaving else Act.PREPARE)
        case Stage.PREPARING | Stage.PREPARED if leaving:
            return Next(act=Act.CLEAN)
        case Stage.PREPARING:
            end = now.preparing_since + PREPARE_SECONDS
            return Next(act=Act.EXPIRE) if now.now >= end else Next(act=Act.WAIT, wake_at=end)
        case Stage.PREPARED if now.wanted is TaskState.RUNNING:
            return Next(act=Act.START)
        case Stage.STARTING | Stage.STARTED if leaving:
            return _stop(now)
        case Stage.ENDED:
            return Next(act=Act.CLEAN)
        case Stage.CLEAN:
            return Next(act=Act.DONE)
        case _:
            return Next(act=Act.WAIT)


def _stop(now: Situation) -> Next:
    """Signal, grace, kill; a container that survives even that is removed by force."""
    if now.killed_at is not None:
        if now.now >= now.killed_at + KILL_SECONDS:
            return Next(act=Act.CLEAN)
        return Next(act=Act.WAIT, wake_at=now.killed_at + KILL_SECONDS)
    if now.forgotten:
        return Next(act=Act.KILL)
    if now.stopping_since is None:
        return Next(act=Act.STOP)
    end = now.stopping_since + now.grace
    if now.now >= end:
        return Next(act=Act.KILL)
    return Next(act=Act.WAIT, wake_at=end)


class End(Value, frozen=True, kw_only=True):
    """The final state of a task and why, in one sentence ('' when there is nothing to say)."""

    state: TaskState
    error: str = ""


def ended(exit: Exit | None, *, asked: bool, doom: str = "", memory: int = 0) -> End:
    """What an end means. `asked`: the manager wanted it; `doom`: why the agent stopped it;
    `memory`: the limit in bytes, 0 = none."""
    if doom:
        return End(state=TaskState.FAILED, error=doom)
    if asked:
        return End(state=TaskState.SHUTDOWN)
    if exit is None:
        return End(state=TaskState.FAILED, error="its container has vanished")
    if exit.rebooted:
        # No fault of the task's: it went with its machine, as those of a node that is down.
        return End(state=TaskState.SHUTDOWN, error="its node was restarted")
    if exit.lost:
        return End(state=TaskState.FAILED, error=f"monitor lost: {exit.lost}")
    if exit.code == 0:
        return End(state=TaskState.COMPLETE)
    limit = f" (limit {_size(memory)})" if memory else ""
    if exit.oom_killed and (exit.signal == _KILLED or exit.code == 128 + _KILLED):
        return End(state=TaskState.FAILED, error=f"out of memory{limit}")
    by = f"killed by {signal_name(exit.signal)}" if exit.signal else f"exit code {exit.code}"
    earlier = f"; a process of it had run out of memory{limit}" if exit.oom_killed else ""
    return End(state=TaskState.FAILED, error=f"{by}{earlier}")


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


_KILLED = 9
"""SIGKILL: what the kernel sends a process that is out of memory."""
_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; the number for one without a name."""
    return _SIGNALS.get(number, f"signal {number}")
