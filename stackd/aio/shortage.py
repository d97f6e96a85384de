"""Which failures are for want of something that a machine runs out of: room on a disk, open files,
memory. They pass, and say nothing of what was asked for.

Asked by loops and by whoever turns a foreign error into one of ours.
"""

import errno
import os
import re

_PASSING = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
)
_SAID = re.compile("|".join(re.escape(os.strerror(number)) for number in _PASSING), re.IGNORECASE)


def passing(error: BaseException | str | None) -> bool:
    """Whether a failure, or what a program says of one, is of that kind. An error of ours is when
    the one it was made from is."""
    if isinstance(error, str):
        return _SAID.search(error) is not None
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return error is not None and passing(error.__cause__)
