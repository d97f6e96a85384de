"""Who a container runs as: `user:` or the image's USER against the image's own passwd and group.

Called by the runtime with the text of the two files, read safely from inside the root (both are
the image author's: any line may be nonsense and is then skipped).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stackd.errors import Rejected

_LARGEST = 2**32 - 2
"""The highest id: 2**32 - 1 means "no change" to the kernel."""


@dataclass(frozen=True, slots=True)
class User:
    """Numeric identity; `groups` always contains `gid`."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def resolve(text: str, passwd: str, group: str) -> User:
    """`text` is '', UID, NAME, UID:GID, NAME:GROUP and so on. '' is root.

    A numeric id need not be in passwd; a name must. Raises Rejected.
    """
    name, colon, group_name = text.partition(":")
    accounts = list(_accounts(passwd))
    uid, gid, login = _account(name or "0", accounts)
    if colon and group_name:
        chosen = _group(group_name, group)
        return User(uid, chosen, (chosen,))
    more = {number for _, number, members in _groups(group) if login and login in members}
    return User(uid, gid, (gid, *sorted(more - {gid})))


def _account(name: str, accounts: list[tuple[str, int, int]]) -> tuple[int, int, str]:
    number = _number(name)
    for login, uid, gid in accounts:
        if login == name or uid == number:
            return uid, gid, login
    if number is None:
        raise Rejected(
            f"The user {name!r} is not in /etc/passwd of the image.",
            "Use a number, or a name the image knows.",
        )
    return number, 0, ""


def _group(name: str, text: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    for known, gid, _ in _groups(text):
        if known == name:
            return gid
    raise Rejected(
        f"The group {name!r} is not in /etc/group of the image.",
        "Use a number, or a name the image knows.",
    )


def _number(text: str) -> int | None:
    """A decimal id, None for a name. Raises Rejected when it is out of range."""
    if not (text.isascii() and text.lstrip("+-").isdigit()):
        return None
    if not text.isdigit() or len(text) > 10 or int(text) > _LARGEST:
        raise Rejected(
            f"The id {text[:20]!r} is not a number from 0 to {_LARGEST}.", "Correct the user."
        )
    return int(text)


def _id(text: str) -> int | None:
    valid = text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LARGEST
    return int(text) if valid else None


def _accounts(passwd: str) -> Iterator[tuple[str, int, int]]:
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and fields[0]:
            uid, gid = _id(fields[2]), _id(fields[3])
            if uid is not None and gid is not None:
                yield fields[0], uid, gid


def _groups(group: str) -> Iterator[tuple[str, int, frozenset[str]]]:
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[0]:
            gid = _id(fields[2])
            if gid is not None:
                members = fields[3].split(",") if len(fields) > 3 else []
                yield fields[0], gid, frozenset(filter(None, members))
