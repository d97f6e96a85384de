"""Reads `.env` and `env_file` files: `NAME=value` lines.

Quotes are taken away as Compose does (Swarm kept them as part of the value); nothing is
interpolated in them.
"""

import re
from collections.abc import Mapping

from stackd.core.spec.nodes import Place
from stackd.core.spec.problems import Report, Stop
from stackd.core.spec.reader import decode

MAX_LINES = 5000
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[^=\s]+)\s*(?P<rest>=.*)?", re.DOTALL)
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?""", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MEANING: Mapping[str, str] = {"n": "\n", "r": "\r", "t": "\t"}


def _value(text: str) -> str:
    """What stands after `=`.

    Raises:
        ValueError: a quote is not closed.
    """
    text = text.strip()
    if not text.startswith(('"', "'")):
        return re.split(r"(?<=\s)#|^#", text, maxsplit=1)[0].rstrip()
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        raise ValueError("a quote is not closed, or something follows it")
    if quoted[2] is not None:
        return quoted[2]
    return _ESCAPE.sub(lambda found: _MEANING.get(found[1], found[1]), quoted[1])


def parse(file: str, data: bytes, report: Report) -> dict[str, str | None]:
    """The variables of a file; None for a name without `=`. Faults go to the report."""
    try:
        lines = decode(file, data, report).splitlines()
    except Stop:
        return {}
    if len(lines) > MAX_LINES:
        report.error(Place(file, MAX_LINES + 1, 1), f"the file has more than {MAX_LINES} lines")
        return {}
    found: dict[str, str | None] = {}
    for number, line in enumerate(lines, 1):
        place = Place(file, number, 1)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or not ENV_NAME.fullmatch(match["name"]):
            report.error(place, "expected NAME=value")
            continue
        try:
            found[match["name"]] = _value(match["rest"][1:]) if match["rest"] else None
        except ValueError as error:
            report.error(place, f"{match['name']}: {error}")
    return found
