"""Looking into roots that strangers wrote; overlays of many layers; the node's tmpfs."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackd.aio.layout import ClusterLayout, NodeLayout
from stackd.errors import Rejected
from stackd.host import mounts, noderun, rootfs

pytestmark = pytest.mark.host


def test_preflight(tmp_path: Path) -> None:
    with rootfs.opened(tmp_path) as root:
        root.preflight()
        (tmp_path / "proc").mkdir()
        root.preflight()
        (tmp_path / "dev").symlink_to("/etc")
        with pytest.raises(Rejected, match="/dev"):
            root.preflight()


def test_reading_stays_inside_and_small(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    top = tmp_path / "root"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "real").write_text("inside")
    (top / "etc" / "abs").symlink_to("/etc/real")
    (top / "etc" / "out").symlink_to("../../outside")
    (top / "etc" / "loop").symlink_to("loop")
    os.mkfifo(top / "etc" / "fifo")
    (top / "etc" / "big").write_bytes(bytes(2 << 20))
    with rootfs.opened(top) as root:
        assert root.read_text("/etc/abs") == "inside"
        assert root.read_text("/etc/absent") == ""
        assert root.read_text("/etc/out") == ""
        assert root.read_text("/etc/loop") == ""
        for name in ("fifo", "big", "../etc"):
            with pytest.raises(Rejected):
                root.read_text(f"/etc/{name}")


def test_real_targets(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "to_proc").symlink_to("/proc")
    (tmp_path / "proc").mkdir()
    (tmp_path / "dangling").symlink_to("/nowhere/at/all")
    (tmp_path / "up").symlink_to("../../..")
    with rootfs.opened(tmp_path) as root:
        assert root.real("/a/new/deep") == "/a/new/deep"
        assert root.real("/a/to_proc/x") == "/proc/x"
        assert root.real("/up/a") == "/a"
        with pytest.raises(Rejected, match="nowhere"):
            root.real("/dangling/x")


@pytest.mark.parametrize("how", ["calls", "option"])
@pytest.mark.parametrize("count", [1, 127])
def test_overlay_of_many_layers(tmp_path: Path, how: str, count: int) -> None:
    lower = [tmp_path / f"{number:064x}" for number in range(count)]
    for folder in (*lower, *(tmp_path / name for name in ("upper", "work", "merged"))):
        folder.mkdir()
    for folder in lower:
        (folder / folder.name).touch()
        (folder / "who").write_text(folder.name)
    wanted = mounts.Overlay(lower, *(tmp_path / name for name in ("upper", "work", "merged")))
    try:
        if how == "calls":
            assert mounts.overlay_by_calls(wanted)
        else:
            mounts.overlay_by_option(wanted)
        merged = tmp_path / "merged"
        assert len(list(merged.iterdir())) == count + 1
        assert (merged / "who").read_text() == lower[0].name
        (merged / "who").write_text("changed")
        assert (lower[0] / "who").read_text() == lower[0].name
    finally:
        assert mounts.unmount(tmp_path / "merged")
    assert not mounts.unmount(tmp_path / "merged")


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[NodeLayout]:
    made = ClusterLayout(tmp_path, f"zn{secrets.token_hex(3)}").node("n1")
    yield made
    noderun.purge(made)
    assert not made.run.parent.exists()


def test_run_folder_is_a_private_tmpfs_of_this_boot(layout: NodeLayout) -> None:
    noderun.prepare(layout)
    mark = layout.bundles / "kept"
    mark.touch()
    noderun.prepare(layout)
    assert mark.exists()
    assert mounts.is_mounted(layout.run)
    assert layout.run.stat().st_mode & 0o777 == 0o700
    (layout.run / "boot_id").write_text("another boot")
    noderun.prepare(layout)
    assert not mark.exists()
    assert mounts.is_mounted(layout.run)
