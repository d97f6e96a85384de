"""What a transaction may hold, checked before it reaches a driver. Every driver calls this."""

from collections.abc import Sequence

from stackd.errors import Refused
from stackd.store.kv import MAX_BYTES, MAX_OPERATIONS, Compare, DeleteOp, Op, PutOp


def check(compare: Sequence[Compare], then: Sequence[Op], otherwise: Sequence[Op]) -> None:
    """Raise Refused when a transaction is too large or writes one key twice."""
    for what, count in (
        ("comparisons", len(compare)),
        ("operations", len(then)),
        ("operations", len(otherwise)),
    ):
        if count > MAX_OPERATIONS:
            raise Refused(
                f"A transaction has {count} {what}, more than {MAX_OPERATIONS}.",
                "Split it into several transactions.",
            )
    size = sum(len(c.key.encode()) for c in compare) + _bytes(then) + _bytes(otherwise)
    if size > MAX_BYTES:
        raise Refused(
            f"A transaction has {size} bytes, more than {MAX_BYTES}.",
            "Store less in one object, or split it.",
        )
    for ops in (then, otherwise):
        if len({op.key for op in ops}) != len(ops):
            raise Refused("A transaction writes one key twice.", "Write each key once.")


def _bytes(ops: Sequence[Op]) -> int:
    total = 0
    for op in ops:
        match op:
            case PutOp(key=key, value=value):
                total += len(key.encode()) + len(value)
            case DeleteOp(key=key):
                total += len(key.encode())
    return total
