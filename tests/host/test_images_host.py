"""Images from blobs: verified, damaged, for other platforms, malformed."""

import json
import os
from pathlib import Path

import pytest

from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.core.model.driver import ImageConfig
from stackd.errors import Rejected, Unavailable
from stackd.host import images, layers
from tests.host import images as made

pytestmark = pytest.mark.host


class Blobs:
    """A source of blobs that gives each one as it is here, counting."""

    def __init__(self, top: Path) -> None:
        self.source, self.given = top / "source", top / "given"
        self.given.mkdir(parents=True)
        self.spoil: dict[str, int] = {}
        self.fetched: list[str] = []

    async def fetch(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        self.fetched.append(digest)
        path = self.given / name
        if not path.exists():
            data = (self.source / name).read_bytes()
            if self.spoil.get(digest, 0):
                self.spoil[digest] -= 1
                data = data[:-1]
            path.write_bytes(data)
        return path


@pytest.fixture
def layout(tmp_path: Path) -> NodeLayout:
    made_layout = ClusterLayout(tmp_path, "zi").node("n")
    made_layout.data.mkdir(parents=True)
    return made_layout


def node(layout: NodeLayout, blobs: Blobs) -> images.NodeImages:
    return images.NodeImages(layout, layers.LayerStore(layout), blobs.fetch)


def small(text: bytes) -> made.Layer:
    return made.layer(made.tar([(made.entry("f"), text)]))


async def test_ensure_once_and_config(layout: NodeLayout, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    config = {
        "Entrypoint": ["/e"],
        "Cmd": ["c"],
        "Env": ["A=1"],
        "User": "app",
        "WorkingDir": "/w",
        "StopSignal": "SIGQUIT",
        "Volumes": {"/v": {}},
        "Healthcheck": {"Test": ["CMD-SHELL", "ok"], "Interval": 2_000_000_000, "Retries": 4},
    }
    built = made.build(blobs.source, [small(b"1"), small(b"2")], config)
    found = await node(layout, blobs).ensure(built.name)
    assert found.config == ImageConfig(
        ("/e",),
        ("c",),
        ("A=1",),
        "app",
        "/w",
        "SIGQUIT",
        ("/v",),
        ("/bin/sh", "-c", "ok"),
        2.0,
        0,
        4,
    )
    assert found.layers == tuple(item.diff_id for item in built.layers)
    count = len(blobs.fetched)
    again = node(layout, blobs)
    assert await again.ensure(built.name) == found
    assert len(blobs.fetched) == count
    assert again.present() == {built.digest: found.layers}
    again.forget(built.digest)
    assert again.present() == {}


async def test_damaged_blob_is_fetched_once_more(layout: NodeLayout, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    built = made.build(blobs.source, [small(b"1")])
    for digest in (built.digest, built.layers[0].digest):
        blobs.spoil[digest] = 1
    await node(layout, blobs).ensure(built.name)
    assert blobs.fetched.count(built.layers[0].digest) == 2


async def test_damaged_twice_is_unavailable(layout: NodeLayout, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    built = made.build(blobs.source, [small(b"1")])
    blobs.spoil[built.layers[0].digest] = 9
    with pytest.raises(Unavailable, match="damaged"):
        await node(layout, blobs).ensure(built.name)
    assert node(layout, blobs).present() == {}


async def test_index_picks_this_platform(layout: NodeLayout, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    built = made.build(blobs.source, [small(b"1")])
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    other = made.sha256(b"other")

    def index(architecture: str) -> str:
        entries = [
            {"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": name}}
            for digest, name in ((other, "s390x"), (built.digest, architecture))
        ]
        data = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": entries,
            }
        ).encode()
        (blobs.source / made.sha256(data).removeprefix("sha256:")).write_bytes(data)
        return f"x@{made.sha256(data)}"

    found = await node(layout, blobs).ensure(index(machine))
    assert found.layers == (built.layers[0].diff_id,)
    with pytest.raises(Rejected, match="nothing for linux"):
        await node(layout, blobs).ensure(index("riscv64"))


async def test_a_name_without_digest_is_rejected(layout: NodeLayout, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="digest"):
        await node(layout, Blobs(tmp_path)).ensure("busybox:latest")
