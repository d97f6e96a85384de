"""MessagePack of model values inside frames (docs/adr/0003). Bad bytes from a peer are Refused."""

from typing import TypeVar

import msgspec

from stackd.errors import Refused

T = TypeVar("T")


def encode(value: object) -> bytes:
    """The store encoding of a model value."""
    return msgspec.msgpack.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """A value of type `kind`; unknown fields are ignored. Raises Refused when it is not one."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise Refused(f"A message is not a {getattr(kind, '__name__', kind)}: {error}.") from error
