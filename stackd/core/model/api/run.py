"""Requests about running services: logs, exec, scale, remove, adopt, rollouts."""

from stackd.core.model.api.base import Answer
from stackd.core.model.record import Value


class LogsRequest(Value, frozen=True, kw_only=True):
    """Logs of a task, a service or a stack. `since` Unix seconds; `tail` < 0 = all."""

    name: str
    follow: bool = False
    tail: int = -1
    since: float = 0


class LogRow(Answer, frozen=True, kw_only=True):
    """One line of output."""

    task: str
    name: str
    at: str
    stream: str
    text: bytes
    partial: bool = False
    """The line goes on in the next row of this task and stream."""


class LogRows(Answer, frozen=True, kw_only=True):
    """Lines that came at once."""

    rows: tuple[LogRow, ...]


class ExecFrame(Value, frozen=True, kw_only=True):
    """One frame of `exec`, both ways. The first from the client names task and argv; the last
    from the server has `code`."""

    task: str = ""
    argv: tuple[str, ...] = ()
    tty: bool = False
    rows: int = 0
    columns: int = 0
    data: bytes = b""
    stream: int = 0
    """1 stdout, 2 stderr; from the client: 0 stdin."""
    end: bool = False
    """stdin is closed."""
    code: int | None = None


class ScaleRequest(Value, frozen=True, kw_only=True):
    """`scale STACK/SERVICE=N`; replicas None = back to the declared number."""

    name: str
    replicas: int | None


class RemoveRequest(Value, frozen=True, kw_only=True):
    """`rm STACK`."""

    name: str
    volumes: bool = False


class AdoptRequest(Value, frozen=True, kw_only=True):
    """`adopt STACK --repo NAME`."""

    name: str
    repo: str


class FreezeRequest(Value, frozen=True, kw_only=True):
    """`freeze [STACK] --reason … [--until …]`; no name = all stacks; `until` in Unix seconds or as
    `seconds` from now, 0 = until `unfreeze`."""

    name: str = ""
    reason: str
    until: float = 0
    seconds: float = 0


class RolloutAnswer(Answer, frozen=True, kw_only=True):
    """What was asked of a rollout. `revision`: the one that is to serve, when it is not the one
    declared (abort, rollback): what `--wait` waits for."""

    text: str
    revision: str = ""


class RolloutRequest(Value, frozen=True, kw_only=True):
    """promote, abort, pause, resume, retry, rollback."""

    name: str
    full: bool = False
    to: str = ""
    step: int | None = None
    """Promote only where so many steps are done: what was seen to wait, and no later pause."""
    revision: str = ""
    """Of promote, abort, pause, resume: only the rollout to this revision (of a toggle: to this
    share), and none that has superseded it; '' = whichever is under way."""
