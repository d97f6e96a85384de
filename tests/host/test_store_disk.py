"""The store on a disk that fills up or turns read-only, and on one that is whole again."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackd.aio.clock import ManualClock
from stackd.errors import Unavailable
from stackd.store.kv import PutOp
from stackd.store.sqlite import SqliteStore

pytestmark = pytest.mark.host


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    """The same, but nothing can be written."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk


async def fill(store: SqliteStore, written: list[int]) -> None:
    """Write until it fails; `written` gets what was acknowledged."""
    for number in range(100):
        await store.txn([], [PutOp(f"/{number}", secrets.token_bytes(100_000))])
        written.append(number)


async def test_a_full_disk_refuses_writes_and_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    store = await SqliteStore.open(small_disk / "s.db", ManualClock())
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * 1024 * 1024))
    written: list[int] = []
    with pytest.raises(Unavailable, match="disk is full"):
        await fill(store, written)
    found = len((await store.range("/")).items)
    assert 0 < found == len(written), "reading goes on, nothing is torn"
    ballast.unlink()
    await store.txn([], [PutOp("/after", b"room again")])
    await store.close()
    store = await SqliteStore.open(small_disk / "s.db", ManualClock())
    assert len((await store.range("/")).items) == len(written) + 1
    await store.close()


async def test_a_full_disk_at_open_is_unavailable(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as file:
        file.write(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))
    with pytest.raises(Unavailable):
        await SqliteStore.open(small_disk / "s.db", ManualClock())


async def test_a_read_only_disk_at_open_is_unavailable(read_only_disk: Path) -> None:
    with pytest.raises(Unavailable):
        await SqliteStore.open(read_only_disk / "s.db", ManualClock())
