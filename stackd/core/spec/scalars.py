"""Texts -> typed values: booleans, numbers, durations, sizes, modes, ports.

Every function raises ValueError with the text a problem shows. `fields` makes field types of
them; the parsers of short forms call them directly.
"""

import re
from dataclasses import dataclass

_TRUE = frozenset(word for w in ("true", "yes", "on") for word in (w, w.title(), w.upper()))
_FALSE = frozenset(word for w in ("false", "no", "off") for word in (w, w.title(), w.upper()))
BOOLEAN = "|".join(sorted(_TRUE | _FALSE))

INTEGER = r"[+-]?[0-9]{1,18}|0x[0-9a-fA-F]{1,15}|0o[0-7]{1,20}"
NUMBER = r"[0-9]{1,15}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?|\.[0-9]{1,15}"
DURATION = r"0|(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h|d))+"
SIZE = r"[0-9]{1,15}(?:\.[0-9]{1,9})?(?:[bB]|[kKmMgGtT](?:[iI]?[bB])?)?"
MODE = r"(?:0o?)?[0-7]{1,4}"
PERCENT = r"(?:100(?:\.0{1,2})?|[0-9]{1,2}(?:\.[0-9]{1,2})?)%"

_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h|d)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9.]+)([kKmMgGtT]?)(?:[iI]?[bB])?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

MAX_PORT = 65535


@dataclass(frozen=True)
class Span:
    """The values a number may have, both ends included, and how to write them in a message."""

    low: float
    high: float
    shown: str = ""

    def check(self, value: float, text: str) -> None:
        """Raise ValueError when `value`, written as `text`, is outside."""
        if not self.low <= value <= self.high:
            between = self.shown or f"{self.low:.15g} to {self.high:.15g}"
            raise ValueError(f"{text} is out of range: {between}")


def shown(text: str) -> str:
    """A text as messages quote it: never longer than a line."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def hundredths(text: str, what: str) -> int:
    """0 to 10000 of a percentage with two decimals at most; `what` it is, for the message."""
    if not re.fullmatch(PERCENT, text):
        raise ValueError(f"{shown(text)} is not a {what}: write 0% to 100%, in hundredths at most")
    whole, _, part = text[:-1].partition(".")
    return int(whole) * 100 + int(part.ljust(2, "0") or 0)


def boolean(text: str) -> bool:
    """true false yes no on off, in lower, upper or title case."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{shown(text)} is not a boolean: write true or false")


def integer(text: str) -> int:
    """A whole number; a leading 0 does not make it octal."""
    if not re.fullmatch(INTEGER, text):
        what = "is too long for a number" if re.fullmatch("[+-]?[0-9]+", text) else "is not whole"
        raise ValueError(f"{shown(text)} {what}: write a whole number")
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8) if text.startswith("0o") else int(text)


def number(text: str) -> float:
    """A finite number that is not negative."""
    if not re.fullmatch(NUMBER, text):
        raise ValueError(f"{shown(text)} is not a number: write it like 0.5")
    return float(text)


def duration(text: str) -> float:
    """Seconds of `1h30m`, `10s`, `500ms`."""
    if not re.fullmatch(DURATION, text):
        unit = re.fullmatch(r"[0-9.]+", text)
        hint = "a duration needs a unit" if unit else "write a duration"
        raise ValueError(f"{shown(text)} is not a duration: {hint} like 10s, 500ms or 1m30s")
    return sum(float(value) * _SECONDS[unit] for value, unit in _PART.findall(text))


def size(text: str) -> int:
    """Bytes of `64m`, `1.5g`, `512KiB`; k, m, g and t are powers of 1024."""
    found = _SIZE.fullmatch(text) if re.fullmatch(SIZE, text) else None
    if found is None:
        raise ValueError(f"{shown(text)} is not a size: write it like 64m or 1g")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])


def mode(text: str) -> int:
    """Permission bits; always octal."""
    if not re.fullmatch(MODE, text):
        raise ValueError(f"{shown(text)} is not a file mode: write it in octal like 0440")
    return int(text.removeprefix("0o"), 8)


def port(text: str) -> int:
    """A port number from 1 to 65535."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ValueError(f"{shown(text)} is not a port")
    value = int(text)
    Span(1, MAX_PORT).check(value, text)
    return value
