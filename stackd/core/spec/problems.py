"""Collects the problems of one load, so that all of them are reported at once.

Every stage of `loading` is handed the same `Report`.
"""

from collections.abc import Iterable

from stackd.core.spec.nodes import Place
from stackd.errors import Problem


class Stop(Exception):
    """The file cannot be read further; the problem is in the report already."""


class Report:
    """Problems and warnings found so far, without repetitions."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._settled: set[Place] = set()

    def settle(self, place: Place) -> None:
        """Say that the value at `place` is known to be bad: what follows from it is not news."""
        self._settled.add(place)

    def error(self, place: Place, text: str, path: str = "") -> None:
        """Note a fault that stops the stack from being deployed."""
        if place in self._settled:
            return
        self._found[Problem(place.file, place.line, place.column, text, path)] = None

    def warning(self, place: Place, text: str, path: str = "") -> None:
        """Note something the author should know."""
        self._found[Problem(place.file, place.line, place.column, text, path, warning=True)] = None

    @property
    def all(self) -> tuple[Problem, ...]:
        """Everything, by file and position."""
        return tuple(sorted(self._found))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The faults, by file and position."""
        return tuple(problem for problem in self.all if not problem.warning)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The warnings, by file and position."""
        return tuple(problem for problem in self.all if problem.warning)


def dotted(path: Iterable[str | int]) -> str:
    """A path as problems show it: `services.web.ports[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
