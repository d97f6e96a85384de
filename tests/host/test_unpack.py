"""Layers as they should be, and layers made to break out, lie or explode."""

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from stackd.aio import proc
from stackd.aio.layout import ClusterLayout
from stackd.errors import Rejected
from stackd.host import layers
from tests.host import images

pytestmark = pytest.mark.host

DIR, SYM, LNK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
Entries = Sequence[tuple[tarfile.TarInfo, bytes]]


@dataclass
class Bench:
    """A layer store in a folder, with a canary beside it that nothing may touch."""

    top: Path
    store: layers.LayerStore

    async def unpack(self, plain: bytes, blob: bytes | None = None) -> Path:
        made = images.layer(plain)
        data = made.blob if blob is None else blob
        path = self.top / "blob"
        path.write_bytes(data)
        return await self.store.ensure(path, images.sha256(data), made.diff_id)

    async def entries(self, entries: Entries) -> Path:
        return await self.unpack(images.tar(entries))

    async def refused(self, entries: Entries, why: str = "cannot be unpacked") -> None:
        with pytest.raises(Rejected, match=why):
            await self.entries(entries)
        self.check()

    def check(self) -> None:
        """Nothing outside changed and no half layer is left."""
        assert (self.top / "canary").read_text() == "alive"
        assert sorted(path.name for path in self.top.iterdir() if path.name != "blob") == [
            *("canary", "nodes"),
        ]
        tmp = self.top / "nodes" / "n" / "tmp"
        assert not tmp.exists() or list(tmp.iterdir()) == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "canary").write_text("alive")
    layout = ClusterLayout(tmp_path, "zu").node("n")
    layout.data.mkdir(parents=True)
    made = Bench(tmp_path, layers.LayerStore(layout, size=64 << 20))
    yield made
    made.check()


def file(name: str, data: bytes = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return images.entry(name, **fields), data


def link(name: str, target: str, kind: bytes = SYM) -> tuple[tarfile.TarInfo, bytes]:
    return images.entry(name, kind, linkname=target), b""


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return images.entry(name, DIR, **fields), b""


async def test_attributes_are_kept(bench: Bench) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    root = await bench.entries(
        [
            folder("./", mode=0o750, uid=7),
            folder("d", mode=0o1777, mtime=1_600_000_000),
            file(
                "d/suid", mode=0o4755, uid=12, gid=13, pax_headers={"mtime": "1500000000.123456789"}
            ),
            file(
                "cap",
                pax_headers={
                    "SCHILY.xattr.security.capability": capability.decode(
                        "utf-8", "surrogateescape"
                    ),
                    "SCHILY.xattr.user.note": "hi",
                    "SCHILY.xattr.trusted.overlay.redirect": "/etc",
                    "SCHILY.xattr.security.selinux": "x",
                },
                uid=5,
            ),
            link("d/soft", "suid"),
            link("hard", "d/suid", LNK),
            (images.entry("fifo", tarfile.FIFOTYPE), b""),
            file("ü" * 100 + "\udcff", b"name"),
            (images.entry("dev", DIR), b""),
            (images.entry("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        ]
    )
    suid = (root / "d/suid").stat()
    assert (stat.S_IMODE(suid.st_mode), suid.st_uid, suid.st_gid, suid.st_nlink) == (
        *(0o4755, 12, 13, 2),
    )
    assert suid.st_mtime_ns == 1_500_000_000_123_456_789
    assert (root / "d").stat().st_mtime == 1_600_000_000
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o1777
    assert (stat.S_IMODE(root.stat().st_mode), root.stat().st_uid) == (0o750, 7)
    assert os.readlink(root / "d/soft") == "suid"
    assert os.getxattr(root / "cap", "security.capability") == capability
    assert set(os.listxattr(root / "cap")) == {"security.capability", "user.note"}
    assert stat.S_ISFIFO((root / "fifo").lstat().st_mode)
    assert (root / ("ü" * 100 + "\udcff")).read_bytes() == b"name"
    assert list((root / "dev").iterdir()) == []


async def test_whiteouts(bench: Bench) -> None:
    root = await bench.entries(
        [
            file("gone/.wh.file", b""),
            file("opaque/.wh..wh..opq", b""),
            file("opaque/new"),
            file(".wh..wh.plnk", b""),
            file(".wh.turned", b""),
            folder("turned"),
            folder("both"),
            file(".wh.both", b""),
        ]
    )
    found = (root / "gone/file").lstat()
    assert stat.S_ISCHR(found.st_mode)
    assert found.st_rdev == 0
    for name in ("opaque", "turned", "both"):
        assert os.getxattr(root / name, "trusted.overlay.opaque") == b"y"
    assert (root / "opaque/new").exists()
    assert not (root / ".wh..wh.plnk").exists()


@pytest.mark.parametrize("how", ["plain", "gzip", "members", "zstd", "frames"])
async def test_compressions(bench: Bench, how: str) -> None:
    plain = images.tar([file("a", b"A" * 300_000), file("b", os.urandom(200_000))])
    half = len(plain) // 2
    pack = zstandard.ZstdCompressor().compress
    blob = {
        "plain": plain,
        "gzip": gzip.compress(plain),
        "members": gzip.compress(plain[:half]) + gzip.compress(plain[half:]),
        "zstd": pack(plain),
        "frames": pack(plain[:half]) + pack(plain[half:]),
    }[how]
    root = await bench.unpack(plain, blob)
    assert (root / "a").read_bytes() == b"A" * 300_000


async def test_sparse_files_stay_sparse(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "nodes" / "n" / "source"
    source.mkdir()
    with (source / "holes").open("wb") as out:
        out.seek(30 << 20)
        out.write(b"end")
    for style in ("gnu", "pax"):
        archive = source.parent / "a.tar"
        argv = ("tar", "-S", f"--format={style}", "-C", str(source), "-cf", str(archive), "holes")
        assert (await proc.run(proc.Command(argv))).code == 0
        plain = archive.read_bytes()
        archive.unlink()
        found = (await bench.unpack(plain)) / "holes"
        assert found.stat().st_size == (30 << 20) + 3
        assert found.stat().st_blocks * 512 < 1 << 20
        assert found.read_bytes().endswith(b"\0end")


HOSTILE: dict[str, Entries] = {
    "dotdot": [file("../canary")],
    "dotdot inside": [folder("a"), file("a/../../canary")],
    "absolute symlink out": [link("out", "/../../canary"), file("out/x")],
    "write through dangling symlink folder": [
        link("d", "../../../.."),
        link("d/canary", "x"),
        file("d/canary/q"),
    ],
    "hardlink out": [link("h", "../../canary", LNK)],
    "hardlink to nothing": [link("h", "no/such", LNK)],
    "hardlink to a folder": [folder("d"), link("h", "d", LNK)],
    "hardlink to a whiteout": [file(".wh.x", b""), link("h", "x", LNK)],
    "whiteout of dotdot": [file("a/.wh...", b"")],
    "whiteout of dot": [file(".wh..", b"")],
    "whiteout of nothing": [file(".wh.", b"")],
    "long name": [file("n" * 5000)],
    "long path": [file("p/" * 2500 + "x")],
    "nul in name": [file("a", pax_headers={"path": "a\0b"})],
    "root as symlink": [link(".", "/etc")],
    "root as file": [file("./")],
    "device": [(images.entry("sda", tarfile.BLKTYPE, devmajor=8, devminor=0), b"")],
    "whiteout device": [(images.entry("w", tarfile.CHRTYPE, devmajor=0, devminor=0), b"")],
    "symlink loop": [link("a", "b"), link("b", "a"), file("a/x")],
    "file as parent": [file("f"), file("f/x")],
    "negative owner": [file("f", pax_headers={"uid": "-1"})],
    "huge owner": [file("f", pax_headers={"uid": "4294967296"})],
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
async def test_hostile_layers_are_refused(bench: Bench, name: str) -> None:
    await bench.refused(HOSTILE[name])


THEIRS = file("canary", b"theirs")
CONTAINED: dict[str, Entries] = {
    "absolute name": [file("/canary", b"theirs")],
    "symlink to root then write": [link("r", "/"), file("r/canary", b"theirs")],
    "symlink upwards then write": [link("r", "../../../../.."), file("r/canary", b"theirs")],
    "file over symlink": [link("canary", "/etc/passwd"), file("canary", b"theirs")],
    "folder over symlink": [link("d", "/etc"), folder("d"), file("d/canary"), THEIRS],
    "hardlink to a symlink": [link("s", "/etc/passwd"), link("h", "s", LNK), file("h"), THEIRS],
    "whiteout through a symlink": [folder("t"), link("s", "/t"), file("s/.wh.passwd", b""), THEIRS],
    "file over folder": [folder("canary/deep/er"), file("canary", b"theirs")],
    "dots and slashes": [file(".//./canary", b"theirs")],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CONTAINED))
async def test_tricks_stay_inside(bench: Bench, name: str) -> None:
    root = await bench.entries(CONTAINED[name])
    assert not (root / "canary").is_symlink()
    assert (root / "canary").read_bytes() == b"theirs"
    assert Path("/etc/passwd").read_text().startswith("root:")


async def test_bombs(bench: Bench) -> None:
    await bench.refused([file("zeros", bytes(60 << 20))], "grows more than")
    bench.store = layers.LayerStore(ClusterLayout(bench.top, "zu").node("n"), size=1 << 20)
    noise = os.urandom(700_000)
    await bench.refused([file("a", noise), file("b", noise)], "holds more than")
    await bench.refused([file("a", os.urandom(2 << 20))], "holds more than")


async def test_giant_header(bench: Bench) -> None:
    """A PAX header that claims 4 GB is not read into memory without end."""
    info = images.entry("x", tarfile.XHDTYPE, size=4 << 30)
    plain = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    with pytest.raises(Rejected):
        await bench.unpack(plain)


async def test_negative_size(bench: Bench) -> None:
    info = images.entry("x")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x00"
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    with pytest.raises(Rejected):
        await bench.unpack(bytes(header) + bytes(1024))


async def test_cut_and_damaged_blobs(bench: Bench) -> None:
    plain = images.tar([file("a", os.urandom(100_000))])
    blob = gzip.compress(plain)
    for bad in (blob[:-9], blob + b"junk", blob[:5000], b"not an archive at all"):
        with pytest.raises(Rejected):
            await bench.unpack(plain, bad)
    flipped = bytearray(blob)
    flipped[50_000] ^= 1
    path = bench.top / "blob"
    for data in (bytes(flipped), blob[:-100], b""):
        path.write_bytes(data)
        with pytest.raises(layers.Damaged):
            await bench.store.ensure(path, images.sha256(blob), images.sha256(plain))
    path.write_bytes(blob)
    other = images.sha256(b"other")
    with pytest.raises(Rejected, match="config names"):
        await bench.store.ensure(path, images.sha256(blob), other)
    path.unlink()
    with pytest.raises(layers.Damaged):
        await bench.store.ensure(path, images.sha256(blob), images.sha256(plain))


async def test_padding_counts_and_layers_are_unpacked_once(bench: Bench) -> None:
    plain = images.tar([file("a")]) + bytes(40960)
    first = await bench.unpack(plain)
    inode = first.stat().st_ino
    assert (await bench.unpack(plain)).stat().st_ino == inode
    assert bench.store.prune([]) == [first.name]
    assert not first.exists()


async def test_odd_archives(bench: Bench) -> None:
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    root = await bench.unpack(empty.getvalue())
    assert list(root.iterdir()) == []
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


TAKEN_OVER = """
import ctypes, os, sys
from stackd.host import unpack
unpack.confine(unpack.Job(sys.argv[1], "", "", 1, 1 << 20, 1))
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/inside")
for trick in (
    lambda: os.chroot("/inside"),
    lambda: libc.mount(b"x", b"/inside", b"tmpfs", 0, None) and 1 / 0,
    lambda: os.kill(1, 0),
    lambda: os.open(b"/proc/1/root", 0),
):
    try:
        trick()
        print("done")
    except (OSError, ZeroDivisionError):
        print("refused")
"""


def test_an_unpacker_that_is_taken_over_stays_in_its_folder(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TAKEN_OVER, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 4
    assert (tmp_path / "inside").is_dir()
