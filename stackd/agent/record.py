"""What the node itself remembers on disk: its assignment and what it last said of each task.

With it an agent that starts without a manager adopts its tasks and serves its traffic. A snapshot
and a journal of what came after it, so that a change costs its own size; contents (configs and
secrets) are never written. A torn last entry, left by a crash, is ignored.
"""

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
    gone too, and the manager sends everything again."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
        self.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        self._file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._written = 0
        self._append(_Line(assignment=without_contents(assigned.snapshot())))
        for status in statuses.values():
            self._append(_Line(status=status))
        os.fsync(self._file)
        os.rename(fresh, self._path)
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
        data = self._encoder.encode(line)
        self._written += os.write(self._file, _HEAD.pack(len(data)) + data)
        return self._written > self._limit

    def _lines(self) -> Iterator[_Line]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
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
