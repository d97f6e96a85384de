"""One SQLite transaction that holds a group of store transactions, run in the writer thread.

Each store transaction sees what those before it in the group wrote, has its own revision and its
own comparison result. Rows are read and written many at a time: each SQL statement costs a hand
over of the interpreter lock, which is dear while the event loop is busy.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from stackd.store.kv import (
    Compacted,
    Compare,
    DeleteOp,
    KeyValue,
    Op,
    PutOp,
    Range,
    TxnResult,
    WatchBatch,
    WatchEvent,
)

_LIST = """SELECT kv.key, log.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease
  FROM kv JOIN log ON log.revision = kv.mod_revision AND log.sequence = kv.sequence"""
_CHUNKS = (128, 16, 1)
T = TypeVar("T")


class _Meta(NamedTuple):
    """A key's row in `kv`, without the key."""

    create_revision: int
    mod_revision: int
    sequence: int
    version: int
    lease: int


class Group:
    """The open transaction. Used by one thread, for one group, then thrown away."""

    def __init__(self, connection: sqlite3.Connection, revision: int) -> None:
        self._connection = connection
        self.revision = revision
        self.events: list[WatchEvent] = []
        self._metas: dict[str, _Meta | None] = {}
        self._dirty: dict[str, None] = {}
        self._log: list[tuple[object, ...]] = []

    def load(self, keys: Iterable[str]) -> None:
        """Read the rows of `keys` at once, so that transactions find them in memory."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._metas]
        for chunk in _chunked(missing):
            marks = ",".join("?" * len(chunk))
            rows = self._connection.execute(
                "SELECT key, create_revision, mod_revision, sequence, version, lease"
                f" FROM kv WHERE key IN ({marks})",
                chunk,
            ).fetchall()
            self._metas.update(dict.fromkeys(chunk))
            self._metas.update((row[0], _Meta(*row[1:])) for row in rows)

    def transact(
        self, compare: Sequence[Compare], then: Sequence[Op], otherwise: Sequence[Op]
    ) -> TxnResult:
        """One store transaction."""
        self.load(
            [
                *(c.key for c in compare),
                *(op.key for op in then),
                *(op.key for op in otherwise),
            ]
        )
        succeeded = all(self._mod_revision(c.key) == c.mod_revision for c in compare)
        self._apply(then if succeeded else otherwise)
        return TxnResult(succeeded, self.revision)

    def _mod_revision(self, key: str) -> int:
        meta = self._metas[key]
        return meta.mod_revision if meta else 0

    def _apply(self, ops: Sequence[Op]) -> None:
        revision = self.revision + 1
        sequence = 0
        for op in ops:
            before = self._metas[op.key]
            match op:
                case PutOp(key=key, value=value, lease=lease):
                    created = before.create_revision if before else revision
                    version = before.version + 1 if before else 1
                    self._metas[key] = _Meta(created, revision, sequence, version, lease)
                    self._log.append((revision, sequence, key, value, created, version, lease))
                    item = KeyValue(key, value, created, revision, version, lease)
                    self.events.append(WatchEvent(key, item, revision))
                case DeleteOp(key=key):
                    if before is None:
                        continue
                    self._metas[key] = None
                    self._log.append((revision, sequence, key, None, 0, 0, 0))
                    self.events.append(WatchEvent(key, None, revision))
            self._dirty[op.key] = None
            sequence += 1
        if sequence:
            self.revision = revision

    def revoke(self, lease: int) -> TxnResult:
        """Remove every key bound to `lease`, as one transaction."""
        return self._drop("lease = ?", (lease,))

    def drop_leased(self) -> TxnResult:
        """Remove every key bound to any lease: their holders died with the last process."""
        return self._drop("lease != 0", ())

    def _drop(self, where: str, values: tuple[int, ...]) -> TxnResult:
        self.flush()
        rows = self._connection.execute(
            f"SELECT key FROM kv WHERE {where} ORDER BY key", values
        ).fetchall()
        return self.transact((), [DeleteOp(row[0]) for row in rows], ())

    def range(self, prefix: str) -> Range:
        """All keys that start with `prefix`, in order."""
        self.flush()
        where, values = _starts_with("kv.key", prefix)
        rows = self._connection.execute(f"{_LIST} WHERE {where} ORDER BY kv.key", values)
        return Range(tuple(KeyValue(*row) for row in rows.fetchall()), self.revision)

    def get(self, key: str) -> KeyValue | None:
        """One key."""
        self.flush()
        row = self._connection.execute(f"{_LIST} WHERE kv.key = ?", (key,)).fetchone()
        return KeyValue(*row) if row else None

    def history(self, prefix: str, from_revision: int) -> WatchBatch:
        """Every change under `prefix` at or after `from_revision`. Raises Compacted."""
        self.flush()
        if from_revision < self._compacted():
            raise Compacted(f"revision {from_revision} is no longer kept")
        where, values = _starts_with("key", prefix)
        rows = self._connection.execute(
            "SELECT revision, key, value, create_revision, version, lease FROM log"
            f" WHERE revision >= ? AND {where} ORDER BY revision, sequence",
            (from_revision, *values),
        ).fetchall()
        return WatchBatch(tuple(_event(*row) for row in rows), self.revision)

    def compact(self, revision: int) -> None:
        """Forget what was written before `revision` and is no longer the newest of its key."""
        self.flush()
        floor = min(revision, self.revision)
        if floor <= self._compacted():
            return
        self._connection.execute(
            "DELETE FROM log WHERE revision < ? AND NOT EXISTS (SELECT 1 FROM kv WHERE"
            " kv.key = log.key AND kv.mod_revision = log.revision)",
            (floor,),
        )
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (floor,))

    def _compacted(self) -> int:
        return int(
            self._connection.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[
                0
            ]
        )

    def flush(self) -> None:
        """Write what the transactions so far have changed (not yet durable)."""
        if not self._dirty:
            return
        rows = [(key, *meta) for key in self._dirty if (meta := self._metas.get(key)) is not None]
        gone = [key for key in self._dirty if self._metas.get(key) is None]
        self._insert("INSERT INTO log VALUES ", self._log)
        self._insert("INSERT OR REPLACE INTO kv VALUES ", rows)
        for chunk in _chunked(gone):
            marks = ",".join("?" * len(chunk))
            self._connection.execute(f"DELETE FROM kv WHERE key IN ({marks})", chunk)
        self._connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'revision'", (self.revision,)
        )
        self._dirty = {}
        self._log = []

    def _insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        for chunk in _chunked(rows):
            row = f"({','.join('?' * len(chunk[0]))})"
            values = [value for entry in chunk for value in entry]
            self._connection.execute(statement + ",".join([row] * len(chunk)), values)


def _chunked(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Pieces of a few fixed sizes, so that few different statements are compiled."""
    start = 0
    while start < len(rows):
        size = next(size for size in _CHUNKS if size <= len(rows) - start)
        yield rows[start : start + size]
        start += size


def _starts_with(column: str, prefix: str) -> tuple[str, tuple[str, ...]]:
    """A condition on `column` that its index can answer. Keys are text below U+10FFFF."""
    if not prefix:
        return "1", ()
    return f"{column} >= ? AND {column} < ?", (prefix, prefix + "\U0010ffff")


def _event(
    revision: int, key: str, value: bytes | None, created: int, version: int, lease: int
) -> WatchEvent:
    if value is None:
        return WatchEvent(key, None, revision)
    return WatchEvent(key, KeyValue(key, value, created, revision, version, lease), revision)
