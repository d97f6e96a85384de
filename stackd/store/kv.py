"""The store's vocabulary, which is etcd's: revisioned keys, transactions, watches, leases.

Every driver passes the same contract suite (`tests/contract/test_store.py`).
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_OPERATIONS = 100
"""Comparisons and operations in one transaction (each counted by itself)."""
MAX_BYTES = 1024 * 1024
"""Bytes of keys and values in one transaction."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it is now. Revisions count from 1."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    """True when the key's mod_revision equals `mod_revision`; 0 means that it is absent."""

    key: str
    mod_revision: int


@dataclass(frozen=True, slots=True)
class PutOp:
    """Write `value` at `key`, optionally bound to a lease (0 = none)."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class DeleteOp:
    """Remove `key` if it is there."""

    key: str


Op = PutOp | DeleteOp


@dataclass(frozen=True, slots=True)
class Range:
    """The keys found and the store revision at which all of them were read."""

    items: tuple[KeyValue, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`succeeded`: all comparisons held and `then` was done (else `otherwise` was)."""

    succeeded: bool
    revision: int


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A key that was written (`item`) or removed (`item` is None) at `revision`."""

    key: str
    item: KeyValue | None
    revision: int


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """All events of one or several whole transactions, in order; complete up to `revision`."""

    events: tuple[WatchEvent, ...]
    revision: int


class Compacted(Exception):
    """The watch's start revision is no longer kept: list again and watch from there."""


class KV(Protocol):
    """What a store driver offers. All writes are durable (fsynced) when acknowledged."""

    async def range(self, prefix: str) -> Range:
        """All keys that start with `prefix`, in order."""
        ...

    async def get(self, key: str) -> KeyValue | None:
        """One key, or None."""
        ...

    async def txn(
        self, compare: Sequence[Compare], then: Sequence[Op], otherwise: Sequence[Op] = ()
    ) -> TxnResult:
        """Do `then` if every comparison holds, else `otherwise`; one revision for all of it.

        Raises Refused above the limits, Unavailable when the disk is full or read-only, Corrupt
        when a sync failed (the process must stop).
        """
        ...

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Every change under `prefix` at or after `from_revision`, once and in order.

        Batches without events may come: they say how far the watch is. One comes for each
        revision that `txn` has returned, or for a later one.

        Raises Compacted when that revision is no longer kept.
        """
        ...

    async def grant(self, ttl: float) -> int:
        """A new lease of `ttl` seconds; keys bound to it are removed when it ends."""
        ...

    async def keepalive(self, lease: int) -> None:
        """Start the lease's time again. Raises Conflict when it has ended."""
        ...

    async def revoke(self, lease: int) -> None:
        """End the lease now."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        ...

    async def close(self) -> None:
        """Release files and threads."""
        ...
