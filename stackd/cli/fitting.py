"""As much of the status tree as a terminal has lines for: what a person decides by and the keys
stay, tasks that are well and older events give way.

Called by `status --watch`: what Rich cuts off is the end, where the keys and their answers are.
"""

from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.segment import Segment
from rich.text import Text

from stackd.cli.drawing import draw
from stackd.cli.output import clean
from stackd.core.model.api import StatusAnswer, TaskRow

_FEW = 3
"""Events that are kept when there is little room."""


class Fitted:
    """The status and the foot below it, in the lines of the console that it is drawn on."""

    def __init__(
        self, answer: StatusAnswer, tasks: Sequence[TaskRow], foot: Sequence[str] = ()
    ) -> None:
        self._answer = answer
        self._tasks = tasks
        self._foot = foot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines: list[list[Segment]] = []
        for whole in self._choices():
            lines = console.render_lines(whole, options, pad=False)
            if len(lines) <= console.height:
                break
        else:
            foot = Group(*(Text(clean(line), style="bold") for line in self._foot))
            last = console.render_lines(foot, options, pad=False) if self._foot else []
            lines = [*lines[: max(0, console.height - len(last))], *last][: console.height]
        for line in lines:
            yield from line
            yield Segment.line()

    def _choices(self) -> Iterator[Group]:
        """From all of it to the least."""
        unwell = [task for task in self._tasks if not _well(task)]
        few = self._answer.events[-_FEW:]
        yield self._drawn(self._tasks, self._answer.events)
        yield self._drawn(unwell, self._answer.events)
        yield self._drawn(unwell, few)
        yield self._drawn((), few)
        yield self._drawn((), ())

    def _drawn(self, tasks: Sequence[TaskRow], events: tuple[str, ...]) -> Group:
        hidden = len(self._tasks) - len(tasks)
        more = [f"{hidden} of {len(self._tasks)} tasks are not shown: stackd ps"] if hidden else []
        answer = msgspec.structs.replace(self._answer, events=(*events, *more))
        return draw(answer, tasks, self._foot)


def _well(task: TaskRow) -> bool:
    plain = task.state == "running" and task.health in ("none", "healthy") and not task.error
    return plain and task.desired_state == "running"
