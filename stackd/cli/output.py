"""What the command line prints: JSON documents, lines, errors. Untrusted text is escaped here.

Tables and colours are in `table`: commands that print none do not load Rich.
"""

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import msgspec

from stackd.errors import InvalidSpec, StackdError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` with control characters (terminal escapes among them) made visible."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", text)


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
        sys.stderr.write("\n".join(map(clean, text.splitlines())) + "\n")
    raise SystemExit(code)
