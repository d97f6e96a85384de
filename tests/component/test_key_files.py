"""Key files: written whole, for their owner only, and never silently replaced."""

import os
from pathlib import Path

import pytest

from stackd.aio.clock import ManualClock
from stackd.aio.files import read_private, write_private
from stackd.errors import Refused, Unavailable
from stackd.pki import authority
from stackd.store.seal import DATA_KEY, open_sealer
from tests.fakes.store import FakeStore

NOW = 1_700_000_000.0


def test_a_private_file_is_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "key", b"one")
        write_private(tmp_path / "key", b"two")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_private(tmp_path / "key") == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_loose_mode_is_refused(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / "key", b"x")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(Refused, match=f"{mode:04o}"):
        read_private(tmp_path / "key")


def test_a_link_to_a_key_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(Refused):
        read_private(tmp_path / "link")


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        write_private(tmp_path / "absent" / "key", b"x")
    assert read_private(tmp_path / "absent") is None


async def test_the_sealer_of_a_store_is_the_same_after_a_restart(tmp_path: Path) -> None:
    kv = FakeStore(ManualClock())
    sealed = (await open_sealer(kv, tmp_path / "key")).seal(b"value", "c")
    assert (await open_sealer(kv, tmp_path / "key")).open(sealed, "c") == b"value"


async def test_the_store_alone_opens_nothing(tmp_path: Path) -> None:
    kv = FakeStore(ManualClock())
    await open_sealer(kv, tmp_path / "key")
    wrapped = await kv.get(DATA_KEY)
    assert wrapped is not None
    key = read_private(tmp_path / "key")
    assert key is not None
    assert key not in wrapped.value
    (tmp_path / "key").unlink()
    with pytest.raises(Refused, match="missing"):
        await open_sealer(kv, tmp_path / "key")
    assert not (tmp_path / "key").exists(), "a missing key file is not made anew"


async def test_the_key_file_of_another_store_is_refused(tmp_path: Path) -> None:
    kv = FakeStore(ManualClock())
    await open_sealer(kv, tmp_path / "key")
    await open_sealer(FakeStore(ManualClock()), tmp_path / "other")
    (tmp_path / "other").replace(tmp_path / "key")
    with pytest.raises(Refused, match="does not belong"):
        await open_sealer(kv, tmp_path / "key")


async def test_a_key_file_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "key", b"short")
    with pytest.raises(Refused, match="no key file"):
        await open_sealer(FakeStore(ManualClock()), tmp_path / "key")


def test_the_authority_is_made_once(tmp_path: Path) -> None:
    made = authority.open_authority(tmp_path, "c1", NOW)
    assert authority.open_authority(tmp_path, "c1", NOW + 1) == made
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}


def test_an_authority_half_made_is_made_again(tmp_path: Path) -> None:
    write_private(tmp_path / "ca.key", b"from a start that was cut off")
    made = authority.open_authority(tmp_path, "c1", NOW)
    assert authority.open_authority(tmp_path, "c1", NOW) == made


def test_an_authority_without_its_key_is_refused(tmp_path: Path) -> None:
    authority.open_authority(tmp_path, "c1", NOW)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(Refused, match="lacks its key"):
        authority.open_authority(tmp_path, "c1", NOW)


def test_an_authority_with_another_key_is_refused(tmp_path: Path) -> None:
    authority.open_authority(tmp_path, "c1", NOW)
    write_private(tmp_path / "ca.key", authority.create("c2", NOW).key)
    with pytest.raises(Refused, match="do not belong together"):
        authority.open_authority(tmp_path, "c1", NOW)
