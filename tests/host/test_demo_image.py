"""The demo image as it is built from packages: three versions, one layer, and it runs."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from stackd.aio import proc
from stackd.registry.blobs import BlobStore
from stackd.registry.manifest import parse_config
from stackd.registry.service import ImageService, Needs
from stackd.registry.skopeo import Access

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / ".cache" / "demo-image.tar"


def build() -> str:
    script = ROOT / "examples" / "demo-image" / "build.py"
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)
    return done.stdout


async def test_three_versions_share_one_layer_that_runs(tmp_path: Path) -> None:
    await asyncio.to_thread(build)
    assert await asyncio.to_thread(build) == "", "unchanged inputs are not built again"
    blobs = BlobStore(tmp_path / "blobs")
    needs = Needs(lambda _: Access(), lambda: (), "amd64")
    images = ImageService(blobs, tmp_path, needs)
    loaded = await images.load(ARCHIVE)
    assert [image.name for image in loaded] == [f"stackd-demo:{n}" for n in (1, 2, 3)]
    manifests = [await images.ensure(f"stackd-demo@{image.digest}") for image in loaded]
    assert len({layer.digest for manifest in manifests for layer in manifest.layers}) == 1
    configs = [parse_config(blobs.read(m.config.digest, 1 << 20)) for m in manifests]
    for number, config in enumerate(configs, 1):
        assert f"DEMO_VERSION={number}" in config.image.environment
        assert config.image.health_test == ()
    root = tmp_path / "root"
    root.mkdir()
    layer = images.open_blob(manifests[0].layers[0].digest)
    await proc.run(proc.Command(["tar", "-xzf", str(layer), "-C", str(root)]))
    argv = ["chroot", str(root), *configs[0].image.command, "check"]
    done = await proc.run(proc.Command(argv, env={"PATH": "/usr/sbin:/usr/bin", "DEMO_PORT": "1"}))
    assert (done.code, b"refused" in done.stdout) == (1, True)
