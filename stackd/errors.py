"""The whole exception tree, named by what the caller does next.

Every error carries one sentence of cause and one of what to do; the command line prints both and
never a traceback. Foreign errors are translated into these once, at the edge, with ``from``.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class StackdError(Exception):
    """Base of all expected failures. `remedy` says what the reader can do; it may be empty."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return self.cause


@dataclass(frozen=True, order=True)
class Problem:
    """One fault in one file. `line` and `column` count from 1; 0 means the whole file."""

    file: str
    line: int
    column: int
    text: str
    path: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f" [{self.path}]" if self.path else ""
        return f"{place}: {'warning: ' if self.warning else ''}{self.text}{where}"


class InvalidSpec(StackdError):
    """The author must change a file: carries every problem of every file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(str(p) for p in self.problems), "Correct the places named above."
        )


class Conflict(StackdError):
    """Something relied on has changed: read again now and decide again."""


class Unavailable(StackdError):
    """A dependency does not answer: back off and try again after `retry_after` seconds."""

    def __init__(self, cause: str, remedy: str = "", retry_after: float = 1.0) -> None:
        super().__init__(cause, remedy)
        self.retry_after = retry_after


class Unreachable(Unavailable):
    """Nobody is there, or has gone before it answered: what was asked may have been done."""


class Rejected(StackdError):
    """This cannot run here: the task fails with this cause, another node may do."""


class Refused(StackdError):
    """The caller asked for something that is not allowed or does not exist: tell the caller."""


class Stale(Refused):
    """What the caller agreed to is no longer what would be done: look again and agree again."""


class Unknown(Refused):
    """What the caller named does not exist."""


class Corrupt(StackdError):
    """Stored data cannot be trusted: the process stops rather than guess."""
