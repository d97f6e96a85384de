"""Records as bytes: one byte of form, a CRC-32, then msgpack, compressed when it is worth it.

Fields unknown to this release are ignored and missing ones take their defaults, so a store can be
read by the release before and after. Used by `store.tables` only.
"""

import zlib
from functools import cache

import msgspec

from stackd.core.model.record import Record
from stackd.store.records import BY_TABLE

_PLAIN = 1
_ZLIB = 2
_COMPRESS_ABOVE = 1024
_MOST = 64 * 1024 * 1024
"""Bytes a value may have once inflated: a damaged one must not fill the memory."""


class Undecodable(Exception):
    """These bytes are no record of that table; the message says why."""


_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder(table: str) -> "msgspec.msgpack.Decoder[Record]":
    return msgspec.msgpack.Decoder(BY_TABLE[table])


def encode(record: Record) -> bytes:
    """The bytes of a record."""
    body = _encoder.encode(record)
    form = _PLAIN
    if len(body) > _COMPRESS_ABOVE:
        body, form = zlib.compress(body, 1), _ZLIB
    return bytes((form,)) + zlib.crc32(body).to_bytes(4, "big") + body


def decode(table: str, value: bytes) -> Record:
    """The record of `table` that these bytes are. Raises Undecodable."""
    if table not in BY_TABLE:
        raise Undecodable(f"table {table!r} is unknown to this release")
    form, check, body = value[:1], value[1:5], value[5:]
    if zlib.crc32(body).to_bytes(4, "big") != check:
        raise Undecodable("its checksum does not match: the stored bytes were damaged")
    try:
        match form:
            case b"\x01":
                pass
            case b"\x02":
                body = _inflate(body)
            case _:
                raise Undecodable(f"form {form.hex()} is unknown to this release")
        return _decoder(table).decode(body)
    except (msgspec.MsgspecError, zlib.error, UnicodeDecodeError) as error:
        raise Undecodable(str(error)) from error


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    whole = inflater.decompress(body, _MOST)
    if inflater.unconsumed_tail or not inflater.eof:
        raise Undecodable("it is cut short or too large")
    return whole
