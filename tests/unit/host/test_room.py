"""Which failures are for want of something that may be there again later."""

import errno
import os

import pytest

from stackd.host import room


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_what_a_machine_runs_out_of_passes_by_number_and_by_word(number: int) -> None:
    assert room.passing(OSError(number, os.strerror(number)))
    assert room.passing(f"unable to start: mkdir /x: {os.strerror(number).lower()}")


def test_what_is_wrong_with_what_was_asked_for_stays() -> None:
    assert not room.passing(OSError(errno.ENOENT, "No such file or directory"))
    assert not room.passing('exec: "no-such": executable file not found in $PATH')
