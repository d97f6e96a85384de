"""A task's output on disk: ring files in conmon's format, rotated here, read by `stackd logs`.

`ctr.log` is written by conmon; the runtime renames it when it is full and tells conmon to open it
again, so nothing is lost. Lines look like `2026-01-01T00:00:00.000000000+00:00 stdout F text`;
tag P marks a part without newline.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stackd.core.model.driver import LogLine

ROTATE_AT = 10 * 1024 * 1024
KEPT = 3
BRAKE = 3 * ROTATE_AT
"""conmon's own limit, for when no agent rotates: it then replaces the log by an empty one."""
ENDED_MOST = 1024 * 1024 * 1024
"""Bytes that the logs of ended tasks may take on a node."""
_BLOCK = 256 * 1024
_POLL = 0.2
_REOPEN = b"2 0 0\n"


def rotate(log: Path, control: Path, limit: int = ROTATE_AT) -> bool:
    """Put a full log aside and have its monitor open a new one; True when that was done.

    `control` is the monitor's `ctl` fifo. Without a reader there (the monitor has gone) nothing is
    renamed. conmon never resets the count behind its own limit, so it also replaces the log by
    itself from time to time: a second name for the current file keeps that content.
    """
    held = _held(log)
    try:
        hold(log)
        if _inode(held) != _inode(log):
            _shift(log)
            held.rename(_ring(log, 1))
            return True
        if log.stat().st_size < limit:
            return False
        handle = os.open(control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        _shift(log)
        log.rename(_ring(log, 1))
        held.unlink()
        os.write(handle, _REOPEN)
    finally:
        os.close(handle)
    return True


def hold(log: Path) -> bool:
    """Give the current file its second name; False while there is no current file."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(log, _held(log))
        except FileNotFoundError:
            return False
    return True


def _shift(log: Path) -> None:
    for number in range(KEPT - 1, 1, -1):
        younger = _ring(log, number - 1)
        if younger.exists():
            younger.rename(_ring(log, number))


def _held(log: Path) -> Path:
    return log.with_name(f"{log.name}.held")


def trim(logs: Path, running: Collection[str], most: int = ENDED_MOST) -> list[str]:
    """Remove logs of tasks that do not run, the oldest first, until the others of them take at
    most `most` bytes; returns those tasks."""
    ended = sorted(
        (max(file.st_mtime for file in files), sum(file.st_size for file in files), folder.name)
        for folder in logs.iterdir()
        if folder.name not in running and (files := _inodes(folder))
    )
    total = sum(size for _, size, _ in ended)
    removed = []
    for _, size, task in ended:
        if total <= most:
            break
        shutil.rmtree(logs / task, ignore_errors=True)
        removed.append(task)
        total -= size
    return removed


def _inodes(folder: Path) -> list[os.stat_result]:
    """The folder and each file in it once, whatever its names."""
    found = {}
    for path in (folder, *folder.glob("*")):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found[stat.st_ino] = stat
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Query:
    """Which lines: the last `tail` (negative = all), not older than `since` (Unix seconds),
    `follow` = go on until `ended` says that nothing more comes."""

    log: Path
    tail: int
    since: float
    follow: bool
    ended: Callable[[], bool]


async def read(query: Query) -> AsyncIterator[Sequence[LogLine]]:
    """The kept lines in order, as many at once as a read brought; survives rotation while it
    follows."""
    reader = _Reader(query.log, query.tail)
    try:
        while True:
            ended = query.ended()  # asked before reading: what was written until then is read
            lines = [
                line
                for line in reader.lines()
                if not query.since or seconds(line.at) >= query.since
            ]
            if lines:
                yield lines
            if reader.more():
                await asyncio.sleep(0)
                continue
            if not query.follow or ended:
                return
            await asyncio.sleep(_POLL)
    finally:
        reader.close()


class _Reader:
    """Walks from file to file by inode, as their names move on under it."""

    def __init__(self, log: Path, tail: int) -> None:
        self._log = log
        self._rest = b""
        self._handle = -1
        self._pending = False
        files = _files(log)
        if not files:
            return
        index, offset = _tail_start(files, tail) if tail >= 0 else (0, 0)
        self._open(files[index])
        os.lseek(self._handle, offset, os.SEEK_SET)

    def lines(self) -> Iterator[LogLine]:
        """The complete lines of the next block."""
        if self._handle < 0 and not self._next():
            return
        self._restart_if_cut()
        data = os.read(self._handle, _BLOCK)
        self._pending = bool(data) or self._next()
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if (parsed := parse(line)) is not None:
                yield parsed

    def more(self) -> bool:
        """True when the last call to `lines` did not reach the end."""
        return self._pending

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _open(self, path: Path) -> None:
        self.close()
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _next(self) -> bool:
        """At the end of a file: go to the next younger one, if there is one."""
        following = self._younger()
        if following is None:
            return False
        if self._handle >= 0 and self._unread():
            return True
        try:
            self._open(following)
        except FileNotFoundError:
            return False
        return True

    def _younger(self) -> Path | None:
        files = _files(self._log)
        if self._handle < 0:
            return files[0] if files else None
        own = os.fstat(self._handle)
        inodes = [_inode(path) for path in files]
        if own.st_ino in inodes:
            return next(iter(files[inodes.index(own.st_ino) + 1 :]), None)
        return next((path for path in files if _changed(path) > own.st_mtime_ns), None)

    def _unread(self) -> bool:
        """conmon may have written between the last read and the rename."""
        return os.fstat(self._handle).st_size > os.lseek(self._handle, 0, os.SEEK_CUR)

    def _restart_if_cut(self) -> None:
        if os.fstat(self._handle).st_size < os.lseek(self._handle, 0, os.SEEK_CUR):
            os.lseek(self._handle, 0, os.SEEK_SET)
            self._rest = b""


def parse(line: bytes) -> LogLine | None:
    """One line of conmon's format, None for a torn one."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[2] not in (b"F", b"P"):
        return None
    return LogLine(parts[0].decode("ascii", "replace"), parts[1].decode("ascii", "replace"),
                   parts[3], partial=parts[2] == b"P")  # fmt: skip


def _ring(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _files(log: Path) -> list[Path]:
    """Oldest first."""
    names = [_ring(log, number) for number in range(KEPT - 1, 0, -1)]
    if _inode(_held(log)) != _inode(log):
        names.append(_held(log))
    return [path for path in (*names, log) if path.exists()]


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _tail_start(files: list[Path], tail: int) -> tuple[int, int]:
    """(file, offset) from which `tail` whole lines remain; parts of one line count together."""
    missing = tail
    for index in range(len(files) - 1, -1, -1):
        with files[index].open("rb") as file:
            file.seek(0, os.SEEK_END)
            end = file.tell()
            if index == len(files) - 1 and missing <= 0:
                return index, end
            for offset in _line_starts(file.fileno(), end):
                if _is_full(file.fileno(), offset):
                    if missing == 0:
                        return index, _after(file.fileno(), offset)
                    missing -= 1
    return 0, 0


def _line_starts(handle: int, end: int) -> Iterator[int]:
    """Offsets of line starts, last line first."""
    position, known = end, end
    while position > 0:
        begin = max(0, position - _BLOCK)
        block = os.pread(handle, position - begin, begin)
        at = block.rfind(b"\n")
        while at >= 0:
            start = begin + at + 1
            if start < known:
                yield start
                known = start
            at = block.rfind(b"\n", 0, at)
        position = begin
    if known > 0:
        yield 0


def _is_full(handle: int, offset: int) -> bool:
    head = os.pread(handle, 64, offset).split(b" ", 3)
    return len(head) > 2 and head[2] == b"F"


def _after(handle: int, offset: int) -> int:
    """The start of the line after the one at `offset`."""
    while block := os.pread(handle, _BLOCK, offset):
        at = block.find(b"\n")
        if at >= 0:
            return offset + at + 1
        offset += len(block)
    return offset


def seconds(at: str) -> float:
    """RFC 3339 with nanoseconds as Unix seconds; 0 when it cannot be read."""
    try:
        return datetime.fromisoformat(at[:26] + at[29:]).timestamp()
    except ValueError:
        return 0.0
