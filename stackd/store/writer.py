"""The one thread that touches the SQLite file, and group commit.

What is asked while a commit runs waits in a queue and is done together in the next SQLite
transaction, so that one sync serves all. Nothing is answered before its commit is on disk.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stackd.errors import Corrupt, StackdError, Unavailable
from stackd.store import format as store_format
from stackd.store.group import Group
from stackd.store.kv import Compacted, WatchBatch

GROUP = 512
"""Most requests done in one commit."""

T = TypeVar("T")
Publish = Callable[[WatchBatch], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """A request: `work` runs in the thread; `keys` are those it will look at."""

    work: Callable[[Group], Any]
    future: "asyncio.Future[Any]"
    keys: Sequence[str] = ()


class Writer:
    """Owns thread and file. Made with `open`; every method is called from the event loop."""

    def __init__(self, path: Path, publish: Publish) -> None:
        self._path = path
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._revision = 0
        self._broken: StackdError | None = None

    async def open(self, wanted: store_format.Format) -> int:
        """Open the file and start the thread; returns the store revision.

        Raises Corrupt, Refused (newer format) and Unavailable (in use, full or read-only disk).
        """
        return await asyncio.to_thread(self._open, wanted)

    def _open(self, wanted: store_format.Format) -> int:
        try:
            self._connection = store_format.connect(self._path, wanted)
            self._revision = self._read_revision(self._connection)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        except OSError as error:
            raise Unavailable(
                f"The store {self._path} cannot be opened: {error.strerror}.",
                "Check the folder and the disk.",
            ) from error
        self._thread.start()
        return self._revision

    @staticmethod
    def _read_revision(connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()
        return int(row[0])

    async def do(self, work: Callable[[Group], T], keys: Sequence[str] = ()) -> T:
        """Run `work` in the next group; returns when that is on disk."""
        if self._broken is not None:
            raise self._broken
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, future, keys))
        return await future

    async def close(self) -> None:
        """Finish what is queued, then close the file. Later requests raise Unavailable."""
        if self._broken is None:
            self._broken = Unavailable("The store is closed.", "Start the manager again.")
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        assert self._connection is not None
        running = True
        while running:
            jobs = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(jobs) < GROUP:
                    jobs.append(self._queue.get_nowait())
            running = None not in jobs
            self._do_group(self._connection, [job for job in jobs if job is not None])
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _do_group(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        outcomes: list[Any]
        batch = None
        try:
            if self._broken is not None and isinstance(self._broken, Corrupt):
                raise self._broken
            outcomes, group = self._commit(connection, jobs)
            self._revision = group.revision
            batch = WatchBatch(tuple(group.events), group.revision) if group.events else None
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            failure = translate(error, self._path)
            if isinstance(failure, Corrupt):
                self._broken = failure
            outcomes = [failure] * len(jobs)
        except Corrupt as error:
            outcomes = [error] * len(jobs)
        with contextlib.suppress(RuntimeError):  # the event loop has gone: nobody waits
            self._loop.call_soon_threadsafe(self._answer, jobs, outcomes, batch)

    def _commit(
        self, connection: sqlite3.Connection, jobs: Sequence[_Job]
    ) -> tuple[list[Any], Group]:
        connection.execute("BEGIN")
        group = Group(connection, self._revision)
        group.load(key for job in jobs for key in job.keys)
        outcomes: list[Any] = []
        for job in jobs:
            try:
                outcomes.append(job.work(group))
            except Compacted as error:
                outcomes.append(error)
        group.flush()
        connection.execute("COMMIT")
        return outcomes, group

    def _answer(
        self, jobs: Sequence[_Job], outcomes: Sequence[Any], batch: WatchBatch | None
    ) -> None:
        # Watchers first: who gets an answer finds the events of it already delivered.
        if batch is not None:
            self._publish(batch)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


_PASSING = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_BUSY: "another process uses it",
    sqlite3.SQLITE_LOCKED: "another process uses it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "access is not allowed",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
}


def translate(error: sqlite3.Error, path: Path) -> StackdError:
    """What an SQLite error means for us: Unavailable if nothing was lost and it may pass, else
    Corrupt. After a failed sync nobody knows what is on disk, so the process must stop."""
    code = getattr(error, "sqlite_errorcode", None)
    cause = _PASSING.get(code & 0xFF) if isinstance(code, int) else None
    if cause is not None:
        return Unavailable(f"The store {path}: {cause}.", "Free or repair the disk.")
    return Corrupt(
        f"The store {path} cannot be trusted any more: {error}.",
        "Check the disk, then start the manager again or restore a backup.",
    )
