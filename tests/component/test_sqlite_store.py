"""The SQLite driver with real files: crashes, damage, formats, several processes."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stackd.aio.clock import ManualClock
from stackd.core.model.release import Stack
from stackd.core.model.world import World
from stackd.errors import Conflict, Corrupt, Refused, Unavailable
from stackd.store.format import FORMAT, Format
from stackd.store.kv import PutOp
from stackd.store.sqlite import SqliteStore
from stackd.store.tables import Tables
from tests.tools import write_store_fixture

FIXTURES = Path(__file__).parent.parent / "fixtures" / "store"


async def opened(path: Path, wanted: Format | None = None) -> SqliteStore:
    return await SqliteStore.open(path, ManualClock(), wanted)


async def test_what_was_acknowledged_is_there_after_closing(tmp_path: Path) -> None:
    store = await opened(tmp_path / "s.db")
    result = await store.txn([], [PutOp("/a", b"1"), PutOp("/b", b"2")])
    await store.close()
    store = await opened(tmp_path / "s.db")
    found = await store.range("/")
    assert [(i.key, i.value, i.mod_revision) for i in found.items] == [
        ("/a", b"1", result.revision),
        ("/b", b"2", result.revision),
    ]
    assert found.revision == result.revision
    await store.close()


WRITER = """
import asyncio, pathlib, sys
from stackd.aio.clock import SystemClock
from stackd.store.kv import PutOp
from stackd.store.sqlite import SqliteStore

async def write(store, worker):
    number = 0
    while True:
        number += 1
        pair = [PutOp(f"/{side}/{worker}", str(number).encode()) for side in "ab"]
        await store.txn([], pair)
        print(worker, number, flush=True)

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]), SystemClock())
    await asyncio.gather(*(write(store, worker) for worker in range(8)))

asyncio.run(main())
"""


def write_until_killed(path: Path) -> dict[str, int]:
    """Let a process write, kill it, and return what it said was written: worker -> number."""
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # cut off by the kill
            worker, number = line.split()
            acknowledged[worker] = int(number)
            if int(number) > 100 and process.poll() is None:
                process.send_signal(signal.SIGKILL)
    return acknowledged


async def test_a_killed_process_loses_nothing_acknowledged_and_tears_nothing(
    tmp_path: Path,
) -> None:
    for _ in range(3):
        acknowledged = await asyncio.to_thread(write_until_killed, tmp_path / "s.db")
        assert max(acknowledged.values()) > 100
        store = await opened(tmp_path / "s.db")
        for worker, written in acknowledged.items():
            left, right = await store.get(f"/a/{worker}"), await store.get(f"/b/{worker}")
            assert left is not None
            assert right is not None
            assert int(left.value) >= written
            assert (left.value, left.mod_revision) == (right.value, right.mod_revision)
        await store.close()


async def test_revisions_go_on_after_reopening_also_when_all_is_compacted(tmp_path: Path) -> None:
    store = await opened(tmp_path / "s.db")
    first = (await store.txn([], [PutOp("/a", b"1")])).revision
    await store.compact(first)
    await store.close()
    store = await opened(tmp_path / "s.db")
    assert (await store.txn([], [PutOp("/a", b"2")])).revision == first + 1
    await store.close()


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    store = await opened(tmp_path / "s.db")
    with pytest.raises(Unavailable, match="another process"):
        await opened(tmp_path / "s.db")
    await store.txn([], [PutOp("/a", b"1")])
    await store.close()


async def test_what_a_dead_process_had_leased_is_gone(tmp_path: Path) -> None:
    store = await opened(tmp_path / "s.db")
    lease = await store.grant(1000)
    await store.txn([], [PutOp("/leased", b"", lease), PutOp("/free", b"")])
    await store.close()
    store = await opened(tmp_path / "s.db")
    assert [item.key for item in (await store.range("/")).items] == ["/free"]
    with pytest.raises(Conflict):
        await store.keepalive(lease)
    assert await store.grant(1) > lease
    await store.close()


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = await opened(tmp_path / "s.db")
    await store.txn([], [PutOp("/a", b"1")])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    await store.close()
    assert set(modes.values()) == {0o600}, modes


async def test_a_damaged_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await opened(path)
    for number in range(200):
        await store.txn([], [PutOp(f"/{number}", os.urandom(500))])
    await store.close()
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096 * 4)
    with pytest.raises(Corrupt, match=r"damaged|trusted"):
        await opened(path)


async def test_a_file_that_is_no_store_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(Corrupt):
        await opened(tmp_path / "s.db")


async def test_damage_found_while_running_stops_every_later_write(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await opened(path)
    for number in range(60):
        await store.txn([], [PutOp(f"/{number}", bytes(900_000))])
    await store.close()
    store = await opened(path)
    os.truncate(path, 64 * 1024)
    with pytest.raises(Corrupt):
        await store.range("/")
    with pytest.raises(Corrupt):
        await store.txn([], [PutOp("/a", b"1")])
    await store.close()


async def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await opened(tmp_path / "absent" / "s.db")


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = await opened(tmp_path / "s.db")
    await store.close()
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute(f"PRAGMA user_version={FORMAT + 1}")
    connection.close()
    with pytest.raises(Refused, match="has format"):
        await opened(tmp_path / "s.db")


def rename_keys(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE kv SET key = '/new' || key")
    connection.execute("UPDATE log SET key = '/new' || key")


def break_off(connection: sqlite3.Connection) -> None:
    rename_keys(connection)
    raise sqlite3.OperationalError("the machine stopped here")


async def test_a_migration_happens_once_and_leaves_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await opened(path)
    await store.txn([], [PutOp("/a", b"1")])
    await store.close()
    for _ in range(2):
        store = await opened(path, Format(FORMAT + 1, {FORMAT: rename_keys}))
        assert [item.key for item in (await store.range("/")).items] == ["/new/a"]
        await store.close()
    copy = await opened(tmp_path / f"s.db.format-{FORMAT}")
    assert [item.key for item in (await copy.range("/")).items] == ["/a"]
    await copy.close()


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = await opened(path)
    await store.txn([], [PutOp("/a", b"1")])
    await store.close()
    with pytest.raises(Corrupt):
        await opened(path, Format(FORMAT + 1, {FORMAT: break_off}))
    store = await opened(path)
    assert [item.key for item in (await store.range("/")).items] == ["/a"]
    await store.close()


@pytest.mark.parametrize(
    "name", sorted(path.name for path in FIXTURES.glob("*.db")), ids=lambda name: str(name)
)
async def test_the_store_of_every_release_opens_and_reads(tmp_path: Path, name: str) -> None:
    shutil.copy(FIXTURES / name, tmp_path / "s.db")
    store = await opened(tmp_path / "s.db")
    tables = Tables(store, ManualClock())
    await tables.open()
    assert tables.quarantine == {}
    for record in write_store_fixture.RECORDS:
        assert tables.world.get(type(record), record.key) == record
    assert tables.world.count(Stack) == 1
    await store.close()


def test_this_release_has_a_store_fixture_with_every_kind_of_record() -> None:
    assert (FIXTURES / f"format-{FORMAT}.db").exists()
    # A new kind of record: add one to the tool, and remove and write again the fixture of this
    # release (or, after it was published, write one beside it).
    assert write_store_fixture.kinds_left_out() == set()


async def test_tables_on_a_real_store_follow_many_writers(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await SqliteStore.open(tmp_path / "s.db", clock)
    tables = Tables(store, clock)
    await tables.open()

    async def count_up(worker: int) -> int:
        """Read, add one, write; again after a conflict."""
        conflicts = 0
        done = 0
        while done < 20:
            try:
                await tables.commit(write_store_fixture.next_release(tables.world, "shared"))
                done += 1
            except Conflict:
                conflicts += 1
        return conflicts

    async with asyncio.TaskGroup() as group:
        running = group.create_task(tables.run())
        conflicts = await asyncio.gather(*(count_up(worker) for worker in range(8)))
        running.cancel()
    assert sum(conflicts) > 0
    assert release_of(tables.world, "shared") == 160
    await store.close()


def release_of(world: World, name: str) -> int:
    stack = world.get(Stack, name)
    assert stack is not None
    return stack.release
