"""Sealed values open only with the right key, unchanged, in the place they were sealed for."""

import pytest

from stackd.errors import Corrupt
from stackd.store.seal import Sealer

KEY = bytes(range(32))
VALUE = b"correct horse battery staple"


def test_what_was_sealed_is_opened() -> None:
    sealer = Sealer(KEY)
    for value in (b"", VALUE, bytes(500_000)):
        assert sealer.open(sealer.seal(value, "secret/a/1"), "secret/a/1") == value


def test_a_sealed_value_shows_nothing_and_differs_each_time() -> None:
    sealer = Sealer(KEY)
    first, second = sealer.seal(VALUE, "c"), sealer.seal(VALUE, "c")
    assert first != second
    assert VALUE not in first


@pytest.mark.parametrize("context", ["secret/b/1", "secret/a/2", "credential/a/1", ""])
def test_a_value_moved_to_another_place_is_refused(context: str) -> None:
    sealed = Sealer(KEY).seal(VALUE, "secret/a/1")
    with pytest.raises(Corrupt, match="changed or moved"):
        Sealer(KEY).open(sealed, context)


def test_every_changed_byte_is_noticed() -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(VALUE, "c")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(Corrupt):
            sealer.open(bytes(changed), "c")


@pytest.mark.parametrize("length", [0, 1, 12, 28])
def test_a_value_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Corrupt):
        Sealer(KEY).open(Sealer(KEY).seal(VALUE, "c")[:length], "c")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Corrupt) as caught:
        Sealer(bytes(32)).open(Sealer(KEY).seal(VALUE, "c"), "c")
    assert VALUE.decode() not in str(caught.value) + caught.value.remedy


def test_keyed_hashes_tell_values_names_and_clusters_apart() -> None:
    sealer = Sealer(KEY)
    same = sealer.keyed_hash(VALUE, "secret/a")
    assert same == Sealer(KEY).keyed_hash(VALUE, "secret/a")
    others = {
        sealer.keyed_hash(VALUE + b"x", "secret/a"),
        sealer.keyed_hash(VALUE, "secret/b"),
        sealer.keyed_hash(b"a" + VALUE, "secret/"),
        Sealer(bytes(32)).keyed_hash(VALUE, "secret/a"),
    }
    assert len(others) == 4
    assert same not in others
