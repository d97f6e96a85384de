"""What is kept in the store: a table, a key, and a value encoded with msgspec."""

from typing import ClassVar

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plain frozen value. Fields with defaults are left out of its encoding, so that a new
    field with a default changes neither old bytes nor hashes made over them."""


class Record(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A value with a place of its own in the store: `<TABLE>/<key>`."""

    TABLE: ClassVar[str]

    @property
    def key(self) -> str:
        """The key within the table; parts are joined by `/`."""
        raise AssertionError(f"{type(self).__name__} must define key")


class Ref(Value, frozen=True, kw_only=True, order=True):
    """A place in the store that a decision relied on, present or absent."""

    table: str
    key: str


class Put(Value, frozen=True, kw_only=True):
    """Create or replace `record`, if its place is as it was when the decision was made."""

    record: Record


class Delete(Value, frozen=True, kw_only=True):
    """Remove the record at `ref`, if it is as it was when the decision was made."""

    ref: Ref


Change = Put | Delete


class Changes(Value, frozen=True, kw_only=True):
    """What one decision wants written, all or nothing, and what it relied on without changing it.

    `relies` are compared too: if one of these places has changed since, nothing is written.
    """

    changes: tuple[Change, ...] = ()
    relies: tuple[Ref, ...] = ()


def ref(table: type[Record], key: str) -> Ref:
    """The place of `key` in `table`."""
    return Ref(table=table.TABLE, key=key)
