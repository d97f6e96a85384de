"""What the node itself remembers on disk: its assignment and what it last said of each task.

With it an agent that starts without a manager adopts its tasks and serves its traffic. A snapshot
and a journal of what came after it, so that a change costs its own size; contents (configs and
secrets) are never written. A torn last entry, left by a crash, is ignored.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

from stackd.agent.assigned import Assigned
from stackd.core.model.assignment import Assignment, ContentItem, ItemKind
from stackd.core.model.task import TaskStatus

_HEAD = struct.Struct(">I")
COMPACT_BYTES = 1024 * 1024

Entry = Assignment | TaskStatus


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    assignment: Assignment | None = None
    status: TaskStatus | None = None


class NodeRecord:
    """One file. Nothing in it is fsynced but a snapshot: after a power loss the containers are
    gone too, and the manager sends everything again.

    A disk that is full must not keep the node from working: then the record is kept at `spare`,
    in memory, and `trouble` says why. Nothing here raises OSError.
    """

    def __init__(self, path: Path, spare: Path) -> None:
        """`spare`: on another file system, one that a reboot empties."""
        self._path = path
        self._spare = spare
        self.trouble = ""
        self._file = -1
        self._written = 0
        self._limit = COMPACT_BYTES
        self._encoder = msgspec.msgpack.Encoder()

    def load(self) -> tuple[Assigned, dict[str, TaskStatus]]:
        """What is remembered; empty when there is nothing sound. Then ready to be written."""
        assigned, statuses = Assigned(), dict[str, TaskStatus]()
        for line in self._lines():
            if line.assignment is not None:
                assigned.apply(line.assignment)
            if line.status is not None:
                statuses[line.status.id] = line.status
        known = {item.key for item in assigned.tasks()}
        statuses = {task: status for task, status in statuses.items() if task in known}
        self.rewrite(assigned, statuses)
        return assigned, statuses

    def rewrite(self, assigned: Assigned, statuses: dict[str, TaskStatus]) -> None:
        """Replace the file by a snapshot, all or nothing."""
        lines = [_Line(assignment=without_contents(assigned.snapshot()))]
        lines += [_Line(status=status) for status in statuses.values()]
        self.trouble = ""
        try:
            self._replace(self._path, lines)
            self._spare.unlink(missing_ok=True)
        except OSError as error:
            self.trouble = f"{self._path} cannot be written: {error.strerror}."
            try:
                self._replace(self._spare, lines)
            except OSError as worse:
                self.close()
                self.trouble += f" {self._spare} neither: {worse.strerror}."

    def _replace(self, path: Path, lines: list[_Line]) -> None:
        self.close()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        try:
            self._file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._written = 0
            for line in lines:
                self._write(line)
            os.fsync(self._file)
            os.rename(fresh, path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        self._limit = COMPACT_BYTES + 2 * self._written

    def assignment(self, assignment: Assignment) -> bool:
        """Remember one message; True when it is time to `rewrite`."""
        return self._append(_Line(assignment=without_contents(assignment)))

    def status(self, status: TaskStatus) -> bool:
        """Remember what was said of a task; True when it is time to `rewrite`."""
        return self._append(_Line(status=status))

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: _Line) -> bool:
        try:
            self._write(line)
        except OSError:
            return True  # the end is torn
        return self._written > self._limit

    def _write(self, line: _Line) -> None:
        data = self._encoder.encode(line)
        size = _HEAD.size + len(data)
        if os.write(self._file, _HEAD.pack(len(data)) + data) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._written += size

    def _read(self) -> bytes:
        """The spare is there only while it is the newer one."""
        for path in (self._spare, self._path):
            with contextlib.suppress(FileNotFoundError):
                return path.read_bytes()
        return b""

    def _lines(self) -> Iterator[_Line]:
        data = self._read()
        decoder, at = msgspec.msgpack.Decoder(_Line), 0
        while at + _HEAD.size <= len(data):
            (size,) = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + _HEAD.size + size]
            at += _HEAD.size + size
            if len(body) < size:
                return
            try:
                yield decoder.decode(body)
            except (msgspec.DecodeError, msgspec.ValidationError):
                return


def without_contents(assignment: Assignment) -> Assignment:
    """The same message without the values of configs and secrets."""
    return msgspec.structs.replace(
        assignment,
        put=tuple(item for item in assignment.put if not isinstance(item, ContentItem)),
        removed=tuple(ref for ref in assignment.removed if ref.kind is not ItemKind.CONTENT),
    )
