"""Sealing of secret values at rest, and version ids that do not betray them.

A data key seals values; the store keeps it wrapped by a key that is only in a key file beside the
store, so that a stolen store file is worthless. The manager opens a `Sealer` at start; the API
seals what it stores, the dispatcher opens what a node was granted.
"""

import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stackd.aio.files import read_private, write_private
from stackd.errors import Corrupt, Refused
from stackd.store.kv import KV, Compare, PutOp

DATA_KEY = "/stackd-seal/data-key"
"""Where the wrapped data key is kept."""

_FORM = b"\x01"
_NONCE = 12
_KEY = 32


class Sealer:
    """Seals and opens values with one data key."""

    def __init__(self, data_key: bytes) -> None:
        self._cipher = AESGCM(_derive(data_key, b"seal values"))
        self._names = _derive(data_key, b"name versions")

    def seal(self, value: bytes, context: str) -> bytes:
        """`value` encrypted, 29 bytes longer; different each time.

        `context` says what it belongs to: purpose, record key and version joined by `/`. Opened
        as anything else it is refused.
        """
        return _encrypt(self._cipher, value, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The value. Raises Corrupt when it was changed, or sealed for another context."""
        try:
            return _decrypt(self._cipher, sealed, context.encode())
        except InvalidTag as error:
            raise Corrupt(
                f"The sealed value of {context} was changed or moved.",
                "Write it again, or restore the store from a backup.",
            ) from error

    def keyed_hash(self, value: bytes, context: str) -> str:
        """64 hex digits, equal for equal value and context, that say nothing about the value:
        for version ids of secrets."""
        prefix = context.encode()
        data = len(prefix).to_bytes(4, "big") + prefix + value
        return hmac.new(self._names, data, hashlib.sha256).hexdigest()


async def open_sealer(kv: KV, key_file: Path) -> Sealer:
    """The store's sealer; makes key file and data key where there are none yet.

    Raises Refused when the key file is missing, loose or another one than the store was made
    with: a new one is never made for a store that has a data key.
    """
    found = await kv.get(DATA_KEY)
    if found is None:
        wrapping = _read_key(key_file) or _new_key(key_file)
        data_key = os.urandom(_KEY)
        wrapped = _encrypt(AESGCM(wrapping), data_key, DATA_KEY.encode())
        result = await kv.txn([Compare(DATA_KEY, 0)], [PutOp(DATA_KEY, wrapped)])
        if result.succeeded:
            return Sealer(data_key)
        return await open_sealer(kv, key_file)
    existing = _read_key(key_file)
    if existing is None:
        raise Refused(
            f"The key file {key_file} is missing; the secrets in the store cannot be opened.",
            "Put the key file of this store back.",
        )
    return Sealer(_unwrap(existing, found.value, key_file))


def _unwrap(wrapping: bytes, wrapped: bytes, key_file: Path) -> bytes:
    try:
        return _decrypt(AESGCM(wrapping), wrapped, DATA_KEY.encode())
    except InvalidTag as error:
        raise Refused(
            f"The key file {key_file} does not belong to this store.",
            "Put the key file of this store back.",
        ) from error


def _read_key(path: Path) -> bytes | None:
    key = read_private(path)
    if key is not None and len(key) != _KEY:
        raise Refused(f"{path} is no key file.", "Put the key file of this store back.")
    return key


def _new_key(path: Path) -> bytes:
    key = os.urandom(_KEY)
    write_private(path, key)
    return key


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"stackd " + purpose, hashlib.sha256).digest()


def _encrypt(cipher: AESGCM, value: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return _FORM + nonce + cipher.encrypt(nonce, value, _FORM + associated)


def _decrypt(cipher: AESGCM, sealed: bytes, associated: bytes) -> bytes:
    if sealed[:1] != _FORM or len(sealed) < 1 + _NONCE + 16:
        raise InvalidTag
    nonce = sealed[1 : 1 + _NONCE]
    return cipher.decrypt(nonce, sealed[1 + _NONCE :], _FORM + associated)
