"""Small protobuf values that every renderer needs."""

from typing import Any

from google.protobuf import any_pb2, duration_pb2


def seconds(value: float) -> Any:
    """A Duration."""
    nanos = round(value * 1_000_000_000)
    return duration_pb2.Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def packed(message: Any) -> Any:
    """A message as Any, the same bytes each time."""
    found = any_pb2.Any()
    found.Pack(message, deterministic=True)
    return found
