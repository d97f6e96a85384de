"""Fresh ids: unique, and in the order in which they were made.

One iterator serves tasks, rollouts and events, because events must sort by time. The head of an
id is the time and is shared by ids made close together: never shorten an id to its head.
"""

import secrets
from collections.abc import Iterator

from stackd.aio.clock import Clock

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PER_MILLISECOND = 36**3


def fresh_ids(clock: Clock) -> Iterator[str]:
    """12 characters of [a-z0-9], strictly growing: 9 of milliseconds, 3 of chance or count."""
    last = 0
    while True:
        start = int(clock.now() * 1000) * _PER_MILLISECOND
        last = max(last + 1, start + secrets.randbelow(_PER_MILLISECOND))
        yield base36(last, 12)


def made_at(id_: str) -> float:
    """A moment at which an id had been made for certain, in Unix seconds on its maker's clock."""
    return (int(id_[:9], 36) + 2) / 1000


def base36(number: int, width: int) -> str:
    """`number` in base 36, filled with zeros to `width` characters."""
    digits = []
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits)).rjust(width, "0")
