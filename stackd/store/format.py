"""The store file: its tables, its format version, and how an older one becomes the present one.

Called once by the SQLite driver when it opens, in its writer thread. A file of a newer format is
refused. Migrations run in one transaction, after a copy of the file was made beside it.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stackd.aio.files import sync_directory
from stackd.errors import Corrupt, Refused

FORMAT = 1
"""The format that this release writes."""

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: Mapping[int, Migration] = {}
"""Format -> what makes the next one of it. Format 1 is the first."""

_SCHEMA = (
    # What each revision wrote; `value` is NULL where the key was removed. Values are kept here
    # only once: `kv` points to the newest row of each key.
    """CREATE TABLE log (
         revision INTEGER NOT NULL, sequence INTEGER NOT NULL, key TEXT NOT NULL, value BLOB,
         create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,
         PRIMARY KEY (revision, sequence)) WITHOUT ROWID""",
    """CREATE TABLE kv (
         key TEXT PRIMARY KEY, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT NULL,
         sequence INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL)
         WITHOUT ROWID""",
    "CREATE INDEX kv_lease ON kv (lease) WHERE lease != 0",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('revision', 0), ('compacted', 0)",
)


@dataclass(frozen=True, slots=True)
class Format:
    """Which format is wanted and how to get there; tests make others than the real one."""

    version: int = FORMAT
    migrations: Mapping[int, Migration] = field(default_factory=lambda: MIGRATIONS)


def connect(path: Path, wanted: Format) -> sqlite3.Connection:
    """Open, check and if need be create or migrate the file at `path`.

    Raises Corrupt when the file is damaged, Refused when it is of a newer format, and
    sqlite3.Error for what the disk does.
    """
    created = not path.exists()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)
    try:
        os.chmod(path, 0o600)
        # Exclusive: a second manager on this file is refused, and no shared memory file is made.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=67108864")
        connection.execute("PRAGMA cache_size=-16384")
        _check(connection, path)
        _bring_up(connection, path, wanted)
        if created:
            sync_directory(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise Corrupt(
            f"The store {path} is damaged: {verdict}.", "Restore it from a backup; see doctor."
        )


def _bring_up(connection: sqlite3.Connection, path: Path, wanted: Format) -> None:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > wanted.version:
        raise Refused(
            f"The store {path} has format {found}; this release knows up to {wanted.version}.",
            "Use the newer stackd that wrote it, or restore an older backup.",
        )
    if found == wanted.version:
        return
    if found:
        back_up(connection, path.with_name(f"{path.name}.format-{found}"))
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not found:
            for statement in _SCHEMA:
                connection.execute(statement)
        for version in range(found or FORMAT, wanted.version):
            wanted.migrations[version](connection)
        connection.execute(f"PRAGMA user_version={wanted.version}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Write a whole, consistent copy of the store to `target` (replaced only when complete)."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    copy = sqlite3.connect(partial, isolation_level=None)
    try:
        os.chmod(partial, 0o600)
        connection.backup(copy)
    finally:
        copy.close()
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(partial, target)
    sync_directory(target.parent)
