"""What each fault of the disk means: wait, or stop."""

import sqlite3
from pathlib import Path

import pytest

from stackd.errors import Corrupt, Unavailable
from stackd.store.writer import translate


class Fault(sqlite3.OperationalError):
    """An error with the code that SQLite gives for a fault."""

    def __init__(self, code: int) -> None:
        super().__init__("fault")
        self.sqlite_errorcode = code


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_READONLY_DIRECTORY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
    ],
)
def test_nothing_was_lost_and_it_may_pass(code: int) -> None:
    assert isinstance(translate(Fault(code), Path("/s.db")), Unavailable)


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CONSTRAINT,
    ],
)
def test_nobody_knows_what_is_on_disk(code: int) -> None:
    assert isinstance(translate(Fault(code), Path("/s.db")), Corrupt)


def test_an_error_without_a_code_is_not_taken_lightly() -> None:
    assert isinstance(translate(sqlite3.ProgrammingError("odd"), Path("/s.db")), Corrupt)
