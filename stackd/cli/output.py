"""What the command line prints: JSON documents, tables, errors. Untrusted text is escaped here."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import msgspec
from rich.console import Console
from rich.text import Text

from stackd.errors import InvalidSpec, StackdError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` with control characters (terminal escapes among them) made visible."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", text)


def console() -> Console:
    """Standard output; colour only on a terminal."""
    return Console(highlight=False, soft_wrap=True)


def print_json(answer: Any) -> None:
    """One JSON document with stable snake_case keys, and a newline."""
    body = msgspec.json.encode(answer)
    if sys.stdout.isatty():
        body = msgspec.json.format(body, indent=2)
    sys.stdout.write(body.decode() + "\n")
    sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines, escaped."""
    for line in lines:
        sys.stdout.write(clean(line) + "\n")
    sys.stdout.flush()


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


def emit(answer: Any, output: str, show: Callable[[Any], None]) -> None:
    """Print `answer` as JSON or by `show`."""
    if output == "json":
        print_json(answer)
    else:
        show(answer)


def print_error(error: StackdError) -> None:
    """The cause, then what to do, on standard error."""
    if isinstance(error, InvalidSpec):
        for problem in error.problems:
            sys.stderr.write(clean(str(problem)) + "\n")
        count = sum(not p.warning for p in error.problems)
        sys.stderr.write(f"{count} problem{'s' if count != 1 else ''}. {error.remedy}\n")
        return
    sys.stderr.write(f"stackd: {clean(error.cause)}\n")
    if error.remedy:
        sys.stderr.write(f"        {clean(error.remedy)}\n")


def die(code: int, text: str = "") -> NoReturn:
    """Leave with `code`, after one line on standard error."""
    if text:
        sys.stderr.write(clean(text) + "\n")
    raise SystemExit(code)
