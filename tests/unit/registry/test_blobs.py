"""The blob store and the names beside it."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.errors import Corrupt, Refused
from stackd.registry.blobs import BlobStore
from stackd.registry.names import Names
from stackd.registry.reference import parse


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    blobs = BlobStore(tmp_path / "blobs")
    blobs.prepare()
    return blobs


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def leftovers(store: BlobStore) -> list[str]:
    return [path.name for path in store.tmp.iterdir()]


async def test_a_stream_becomes_a_blob(store: BlobStore) -> None:
    digest = digest_of(b"hello world")
    await store.put(digest, stream(b"hello ", b"world"), 11)
    assert store.read(digest, 100) == b"hello world"
    assert store.has(digest, 11)
    assert not store.has(digest, 12)
    assert list(store.all()) == [(digest, 11)]
    assert leftovers(store) == []


@pytest.mark.parametrize(("content", "limit"), [(b"other", 100), (b"hello world", 5)])
async def test_another_digest_or_length_leaves_nothing(
    store: BlobStore, content: bytes, limit: int
) -> None:
    with pytest.raises(Refused):
        await store.put(digest_of(b"hello world"), stream(content), limit)
    assert list(store.all()) == []
    assert leftovers(store) == []


async def test_a_stream_that_breaks_leaves_nothing(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(Exception, match="cannot be written"):
        await store.put(digest_of(b"whole"), broken(), 100)
    assert leftovers(store) == []


def test_a_damaged_blob_is_found_and_removed(store: BlobStore) -> None:
    digest = digest_of(b"good")
    store.take(digest, [b"good"], 4)
    assert store.verify(digest)
    store.path(digest).write_bytes(b"bad!")
    assert not store.verify(digest)
    assert not store.has(digest)

    store.take(digest, [b"good"], 4)
    store.path(digest).write_bytes(b"bad!")
    with pytest.raises(Refused, match="damaged"):
        store.read(digest, 100)
    assert not store.has(digest)


def test_reading_is_bounded(store: BlobStore) -> None:
    digest = digest_of(b"12345")
    store.take(digest, [b"12345"], 5)
    with pytest.raises(Refused, match="more than 4"):
        store.read(digest, 4)


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "x", "sha256:", "md5:00"])
def test_no_digest_leads_out_of_the_folder(store: BlobStore, digest: str) -> None:
    with pytest.raises(Refused):
        store.path(digest)


def test_what_a_killed_process_left_is_swept(store: BlobStore) -> None:
    (store.tmp / "blob-0011").write_bytes(b"half")
    (store.tmp / "pull-abc").mkdir()
    (store.tmp / "pull-abc" / "oci-put-blob1").write_bytes(b"half")
    store.prepare()
    assert leftovers(store) == []


def test_only_what_is_wanted_stays(store: BlobStore) -> None:
    for content in (b"a", b"bb", b"ccc"):
        store.take(digest_of(content), [content], 3)
    assert store.keep_only(frozenset({digest_of(b"bb")})) == 4
    assert [digest for digest, _ in store.all()] == [digest_of(b"bb")]


def test_names_last(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    names = Names(path)
    names.set(parse("web:1"), digest_of(b"1"), local=True)
    names.set(parse("docker.io/library/web:1"), digest_of(b"2"), local=False)
    names.set(parse("other"), digest_of(b"3"), local=True)
    names.remove("docker.io/library/other:latest")
    again = Names(path)
    assert [(item.name, item.digest, item.local) for item in again] == [
        ("docker.io/library/web:1", digest_of(b"2"), False)
    ]
    found = again.get(parse("web:1"))
    assert found is not None
    assert again.get(parse("web:2")) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_damaged_names_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_bytes(b"[{")
    with pytest.raises(Corrupt):
        Names(tmp_path / "names.json")


async def test_a_blob_of_another_store_is_shared_not_copied(
    store: BlobStore, tmp_path: Path
) -> None:
    other = BlobStore(tmp_path / "other")
    other.prepare()
    digest = digest_of(b"layer")
    assert not store.share(digest, other), "it is not there"
    await other.put(digest, stream(b"layer"), 5)
    assert store.share(digest, other)
    assert store.share(digest, other), "again changes nothing"
    assert store.path(digest).samefile(other.path(digest))
    other.discard(digest)
    assert store.read(digest, 5) == b"layer"


def test_no_other_store_on_this_machine(store: BlobStore, tmp_path: Path) -> None:
    assert not store.share(digest_of(b"layer"), BlobStore(tmp_path / "nowhere"))
