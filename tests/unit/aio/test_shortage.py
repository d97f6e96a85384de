"""Which failures are for want of something that may be there again later."""

import errno
import os

import pytest

from stackd.aio import shortage
from stackd.errors import Unavailable


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_what_a_machine_runs_out_of_passes_by_number_and_by_word(number: int) -> None:
    assert shortage.passing(OSError(number, os.strerror(number)))
    assert shortage.passing(f"unable to start: mkdir /x: {os.strerror(number).lower()}")


def test_what_is_wrong_with_what_was_asked_for_stays() -> None:
    assert not shortage.passing(OSError(errno.ENOENT, "No such file or directory"))
    assert not shortage.passing('exec: "no-such": executable file not found in $PATH')


def test_an_error_of_ours_is_what_it_was_made_from() -> None:
    ours = Unavailable("Not now.")
    assert not shortage.passing(ours)
    ours.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert shortage.passing(ours)
