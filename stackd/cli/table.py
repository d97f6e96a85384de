"""Tables and the colours of states, by Rich; colour only on a terminal."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.text import Text

from stackd.cli.output import clean

WIDE = 10_000
"""Columns of what is no terminal."""

_ICONS = {
    "healthy": "✔",
    "pass": "✔",
    "degraded": "✖",
    "aborted": "✖",
    "fail": "✖",
    "rolling_back": "⚠",
    "progressing": "◌",
    "inconclusive": "◌",
    "better": "✔",
    "worse": "✖",
    "pending": "◷",
    "paused": "॥",
}


def console() -> Console:
    """Standard output; colour only on a terminal."""
    return Console(highlight=False, soft_wrap=True)


def pages() -> Console:
    """Standard output for what breaks its lines: at a terminal's width, in a pipe never."""
    shown = console()
    return Console(highlight=False) if shown.is_terminal else Console(highlight=False, width=WIDE)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without frames, as wide as its content: a pipe gets whole values too."""
    lines = [[clean(str(cell)) for cell in row] for row in rows]
    titles = [header.upper() for header in headers]
    widths = [max(len(line[n]) for line in [titles, *lines]) for n in range(len(titles))]
    out = console()
    out.print(_line(titles, widths, lambda _: "bold"))
    for line in lines:
        out.print(_line(line, widths, style_of))


def _line(cells: Sequence[str], widths: Sequence[int], style: Callable[[str], str]) -> Text:
    text = Text(no_wrap=True, overflow="ignore")
    for cell, width in zip(cells, widths, strict=True):
        text.append(cell, style=style(cell))
        text.append(" " * (width - len(cell) + 2))
    text.rstrip()
    return text


_STYLES = {
    "healthy": "green",
    "running": "green",
    "ready": "green",
    "complete": "green",
    "progressing": "blue",
    "starting": "blue",
    "preparing": "blue",
    "pending": "yellow",
    "paused": "yellow",
    "degraded": "red",
    "aborted": "red",
    "rolling_back": "red",
    "failed": "red",
    "rejected": "red",
    "orphaned": "red",
    "down": "red",
    "unhealthy": "red",
}


def style_of(word: str) -> str:
    """The colour of a state's word; '' for anything else."""
    return _STYLES.get(word, "")


def with_icon(word: str) -> str:
    """A phase or verdict after its icon."""
    return f"{_ICONS.get(word, '•')} {word}"
