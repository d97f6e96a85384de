"""Records survive the round trip; what is damaged or foreign is refused with a reason."""

import zlib

import msgspec
import pytest

from stackd.core.model.event import Event
from stackd.store import codec

EVENT = Event(id="e1", at=1.5, kind="task.failed", object="shop/web", principal="node:n1")


@pytest.mark.parametrize("length", [0, 100, 1024, 5000, 300_000])
def test_what_is_encoded_is_decoded(length: int) -> None:
    event = msgspec.structs.replace(EVENT, text="x" * length)
    assert codec.decode("events", codec.encode(event)) == event


def test_large_values_are_compressed() -> None:
    assert len(codec.encode(msgspec.structs.replace(EVENT, text="x" * 100_000))) < 2000


def sealed(body: bytes, form: int = 1) -> bytes:
    return bytes((form,)) + zlib.crc32(body).to_bytes(4, "big") + body


def test_fields_of_a_newer_release_are_ignored() -> None:
    fields = msgspec.to_builtins(EVENT) | {"invented_later": [1, 2]}
    assert codec.decode("events", sealed(msgspec.msgpack.encode(fields))) == EVENT


def test_fields_of_an_older_release_take_their_defaults() -> None:
    fields = {"id": "e1", "at": 1.5, "kind": "a.b", "object": "o", "principal": "p"}
    record = codec.decode("events", sealed(msgspec.msgpack.encode(fields)))
    assert isinstance(record, Event)
    assert (record.cause, record.text) == ("", "")


def test_every_flipped_bit_is_noticed() -> None:
    value = codec.encode(EVENT)
    for position in range(len(value) * 8):
        damaged = bytearray(value)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(codec.Undecodable):
            codec.decode("events", bytes(damaged))


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ("events", b""),
        ("events", b"\x01"),
        ("events", sealed(b"\xc1")),
        ("events", sealed(msgspec.msgpack.encode({"id": 7}))),
        ("events", sealed(b"not zlib", form=2)),
        ("events", sealed(zlib.compress(bytes(70_000_000)), form=2)),
        ("events", sealed(zlib.compress(msgspec.msgpack.encode(EVENT))[:-3], form=2)),
        ("events", sealed(msgspec.msgpack.encode(EVENT), form=9)),
        ("unheard_of", codec.encode(EVENT)),
    ],
    ids=["empty", "short", "no msgpack", "types", "no zlib", "bomb", "cut", "form", "table"],
)
def test_what_cannot_be_read_says_why(table: str, value: bytes) -> None:
    with pytest.raises(codec.Undecodable, match=r".+"):
        codec.decode(table, value)
