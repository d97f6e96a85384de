"""`image load` of OCI layouts and archives: names, verification, hostile input."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stackd.errors import Refused
from stackd.registry.archive import Loader
from stackd.registry.blobs import BlobStore
from stackd.registry.skopeo import Skopeo
from tests.fakes.images import OCI_CONFIG, OCI_INDEX, OCI_LAYER, Layout, encode, tar_of


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    blobs = BlobStore(tmp_path / "data" / "blobs")
    blobs.prepare()
    return blobs


@pytest.fixture
def loader(store: BlobStore, tmp_path: Path) -> Loader:
    return Loader(store, Skopeo(store.root, store.tmp, tmp_path))


def blobs_of(store: BlobStore) -> int:
    return len(list(store.all()))


async def test_an_archive_brings_its_own_names(
    loader: Loader, store: BlobStore, tmp_path: Path
) -> None:
    layout = Layout()
    one = layout.name(layout.image("one"), "shop/web:1")
    two = layout.name(layout.image("two"), "shop/web:2")
    loaded = await loader.load(layout.archive(tmp_path / "a.tar"), "")
    assert [(image.digest, [str(name) for name in image.names]) for image in loaded] == [
        (one, ["docker.io/shop/web:1"]),
        (two, ["docker.io/shop/web:2"]),
    ]
    assert blobs_of(store) == 6
    assert all(store.verify(digest) for digest, _ in store.all())


async def test_a_folder_and_a_packed_archive_are_the_same(
    loader: Loader, store: BlobStore, tmp_path: Path
) -> None:
    layout = Layout()
    digest = layout.name(layout.image("one"), "web:1")
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(tar_of(layout.all_files())))
    folder = layout.folder(tmp_path / "layout")
    for path in (folder, packed):
        assert [image.digest for image in await loader.load(path, "")] == [digest]
    assert blobs_of(store) == 3


@pytest.mark.parametrize("name", [None, "latest", "1.4"])
async def test_without_a_name_the_tag_is_required(
    loader: Loader, store: BlobStore, tmp_path: Path, name: str | None
) -> None:
    layout = Layout()
    layout.name(layout.image("one"), name)
    archive = layout.archive(tmp_path / "a.tar")
    with pytest.raises(Refused) as caught:
        await loader.load(archive, "")
    assert "--tag" in caught.value.remedy
    assert blobs_of(store) == 0
    loaded = await loader.load(archive, "mine:7")
    assert [str(name) for name in loaded[0].names] == ["docker.io/library/mine:7"]


async def test_one_name_cannot_be_shared(loader: Loader, tmp_path: Path) -> None:
    layout = Layout()
    layout.name(layout.image("one"), "a:1")
    layout.name(layout.image("two"), "a:2")
    with pytest.raises(Refused, match="2 images"):
        await loader.load(layout.archive(tmp_path / "a.tar"), "b:1")


async def test_an_index_keeps_the_platforms_that_are_there(
    loader: Loader, store: BlobStore, tmp_path: Path
) -> None:
    layout, elsewhere = Layout(), Layout()
    index = layout.index(layout.image("one"), elsewhere.image("two", "arm64"))
    digest = layout.name(index, "web:1")
    loaded = await loader.load(layout.archive(tmp_path / "a.tar"), "")
    assert loaded[0].digest == digest
    assert blobs_of(store) == 4


async def test_a_damaged_blob_in_the_store_is_replaced(
    loader: Loader, store: BlobStore, tmp_path: Path
) -> None:
    layout = Layout()
    layout.name(layout.image("one"), "web:1")
    archive = layout.archive(tmp_path / "a.tar")
    await loader.load(archive, "")
    for digest, size in list(store.all()):
        store.path(digest).write_bytes(b"x" * size)
    await loader.load(archive, "")
    assert all(store.verify(digest) for digest, _ in list(store.all()))
    assert blobs_of(store) == 3


def wrong_content() -> Layout:
    layout = Layout()
    layout.name(layout.image("one"), "web:1")
    name = next(name for name in layout.files if layout.files[name][:2] == b"\x1f\x8b")
    layout.files[name] = b"y" * len(layout.files[name])
    return layout


def missing_layer() -> Layout:
    layout = Layout()
    layout.name(layout.image("one"), "web:1")
    del layout.files[next(n for n in layout.files if layout.files[n][:2] == b"\x1f\x8b")]
    return layout


def wrong_size() -> Layout:
    layout = Layout()
    layer = {**layout.blob(OCI_LAYER, b"layer"), "size": 4}
    config = {"rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    layout.name(layout.manifest([layer], layout.blob(OCI_CONFIG, encode(config))), "web:1")
    return layout


def layers_disagree() -> Layout:
    layout = Layout()
    config = {"rootfs": {"type": "layers", "diff_ids": []}}
    layers = [layout.blob(OCI_LAYER, b"layer")]
    layout.name(layout.manifest(layers, layout.blob(OCI_CONFIG, encode(config))), "web:1")
    return layout


def index_in_index() -> Layout:
    layout = Layout()
    layout.name(layout.index(layout.index(layout.image("one"))), "web:1")
    return layout


def bad_name() -> Layout:
    layout = Layout()
    layout.name(layout.image("one"), "../../etc:x")
    return layout


def no_image() -> Layout:
    return Layout()


@pytest.mark.parametrize(
    "make",
    [
        wrong_content, missing_layer, wrong_size, layers_disagree, index_in_index, bad_name,
        no_image,
    ],
)  # fmt: skip
async def test_a_bad_archive_is_refused(
    loader: Loader, store: BlobStore, tmp_path: Path, make: Callable[[], Layout]
) -> None:
    with pytest.raises(Refused):
        await loader.load(make().archive(tmp_path / "a.tar"), "")
    assert list(store.tmp.iterdir()) == []
    assert all(store.verify(digest) for digest, _ in list(store.all()))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"text", b"\x1f\x8bjunk", tar_of({"a": b"b"}), tar_of({"manifest.json": b"{}"}),
        tar_of({"index.json": b"[1"}), tar_of({"index.json": b'{"schemaVersion": 2}'}),
        tar_of({"index.json": encode({"schemaVersion": 2, "mediaType": OCI_INDEX})}),
    ],
)  # fmt: skip
async def test_what_is_no_archive_is_refused(
    loader: Loader, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(Refused):
        await loader.load(path, "")


async def test_a_missing_file_is_named(loader: Loader, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no file"):
        await loader.load(tmp_path / "nothing.tar", "")


async def test_links_in_a_layout_are_not_followed(loader: Loader, tmp_path: Path) -> None:
    layout = Layout()
    layout.name(layout.image("one"), "web:1")
    folder = layout.folder(tmp_path / "layout")
    blob = next((folder / "blobs/sha256").iterdir())
    content = tmp_path / "elsewhere"
    os.rename(blob, content)
    blob.symlink_to(content)
    with pytest.raises(Refused, match="lacks the blob"):
        await loader.load(folder, "")


async def test_a_header_that_lies_about_its_size_does_not_hang(
    loader: Loader, tmp_path: Path
) -> None:
    content = bytearray(tar_of({"a": b"b" * 512, "index.json": b"{}"}))
    content[124:136] = b"\xff" * 10 + b"\xfe\x00"  # size -512 in base 256
    checksum = sum(content[:148]) + 8 * 32 + sum(content[156:512])
    content[148:156] = b"%06o\0 " % checksum
    path = tmp_path / "lies.tar"
    path.write_bytes(bytes(content))
    with pytest.raises(Refused):
        await loader.load(path, "")
