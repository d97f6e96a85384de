"""What every store driver must do: the same suite on each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stackd.aio.clock import ManualClock
from stackd.errors import Conflict, Refused, Unavailable
from stackd.store.kv import (
    KV,
    MAX_BYTES,
    MAX_OPERATIONS,
    Compacted,
    Compare,
    DeleteOp,
    PutOp,
    WatchBatch,
    WatchEvent,
)
from stackd.store.sqlite import SqliteStore
from tests.fakes.store import FakeStore


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture(params=["fake", "sqlite"])
async def kv(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[KV]:
    store: KV
    if request.param == "fake":
        store = FakeStore(clock)
    else:
        store = await SqliteStore.open(tmp_path / "store.db", clock)
    yield store
    await store.close()


async def put(kv: KV, key: str, value: bytes = b"v", lease: int = 0) -> int:
    return (await kv.txn([], [PutOp(key, value, lease)])).revision


async def collect(watch: AsyncGenerator[WatchBatch, None], count: int) -> list[WatchEvent]:
    """The next `count` events of a watch."""
    events: list[WatchEvent] = []
    async with asyncio.timeout(10):
        while len(events) < count:
            events += (await anext(watch)).events
    return events


async def test_a_new_store_is_empty(kv: KV) -> None:
    found = await kv.range("")
    assert found.items == ()
    assert await kv.get("/a") is None


async def test_a_put_is_read_back_with_its_revisions(kv: KV) -> None:
    first = await put(kv, "/a", b"1")
    second = await put(kv, "/a", b"2")
    found = await kv.get("/a")
    assert found is not None
    assert (found.value, found.version) == (b"2", 2)
    assert (found.create_revision, found.mod_revision) == (first, second)
    assert second == first + 1


async def test_a_range_is_the_keys_with_the_prefix_in_order(kv: KV) -> None:
    for key in ("/b/2", "/a/1", "/b/1", "/b", "/c", "/b/ü", "/b/\U0001f600"):
        await put(kv, key)
    found = await kv.range("/b/")
    assert [item.key for item in found.items] == ["/b/1", "/b/2", "/b/ü", "/b/\U0001f600"]


async def test_one_transaction_has_one_revision(kv: KV) -> None:
    result = await kv.txn([], [PutOp("/a", b"1"), PutOp("/b", b"2")])
    found = await kv.range("/")
    assert {item.mod_revision for item in found.items} == {result.revision}
    assert found.revision == result.revision


async def test_then_is_done_only_when_every_comparison_holds(kv: KV) -> None:
    revision = await put(kv, "/a", b"1")
    result = await kv.txn(
        [Compare("/a", revision), Compare("/b", 7)], [PutOp("/a", b"2")], [PutOp("/no", b"x")]
    )
    assert not result.succeeded
    assert (await kv.get("/a")) is not None
    kept = await kv.get("/a")
    assert kept is not None
    assert kept.value == b"1"
    assert await kv.get("/no") is not None


async def test_zero_compares_with_absence(kv: KV) -> None:
    assert (await kv.txn([Compare("/a", 0)], [PutOp("/a", b"1")])).succeeded
    assert not (await kv.txn([Compare("/a", 0)], [PutOp("/a", b"2")])).succeeded
    await kv.txn([], [DeleteOp("/a")])
    assert (await kv.txn([Compare("/a", 0)], [PutOp("/a", b"3")])).succeeded
    found = await kv.get("/a")
    assert found is not None
    assert found.version == 1


async def test_what_changes_nothing_has_no_revision(kv: KV) -> None:
    revision = await put(kv, "/a")
    assert (await kv.txn([Compare("/a", 0)], [PutOp("/a", b"x")])).revision == revision
    assert (await kv.txn([], [DeleteOp("/absent")])).revision == revision
    assert (await kv.txn([Compare("/a", revision)], [])).revision == revision


async def test_of_many_at_once_that_expect_the_same_one_succeeds(kv: KV) -> None:
    revision = await put(kv, "/a")
    results = await asyncio.gather(
        *(kv.txn([Compare("/a", revision)], [PutOp("/a", str(i).encode())]) for i in range(50))
    )
    assert sum(result.succeeded for result in results) == 1


async def test_writes_at_once_have_each_their_own_revision(kv: KV) -> None:
    results = await asyncio.gather(*(kv.txn([], [PutOp(f"/{i}", b"")]) for i in range(300)))
    revisions = [result.revision for result in results]
    assert len(set(revisions)) == 300
    assert max(revisions) - min(revisions) == 299


async def test_a_key_written_removed_and_written_at_once_ends_as_written_last(kv: KV) -> None:
    await asyncio.gather(
        kv.txn([], [PutOp("/a", b"1")]),
        kv.txn([], [DeleteOp("/a")]),
        kv.txn([], [PutOp("/a", b"2")]),
        kv.txn([], [PutOp("/b", b"1")]),
        kv.txn([], [DeleteOp("/b")]),
    )
    assert [item.value for item in (await kv.range("/")).items] == [b"2"]


@pytest.mark.parametrize("count", [MAX_OPERATIONS, MAX_OPERATIONS + 1])
async def test_operations_are_limited(kv: KV, count: int) -> None:
    ops = [PutOp(f"/{i}", b"") for i in range(count)]
    compare = [Compare(f"/{i}", 0) for i in range(count)]
    if count <= MAX_OPERATIONS:
        assert (await kv.txn(compare, ops)).succeeded
    else:
        with pytest.raises(Refused):
            await kv.txn([], ops)
        with pytest.raises(Refused):
            await kv.txn(compare, [])


async def test_bytes_are_limited(kv: KV) -> None:
    assert (await kv.txn([], [PutOp("/a", bytes(MAX_BYTES - 2))])).succeeded
    with pytest.raises(Refused):
        await kv.txn([], [PutOp("/a", bytes(MAX_BYTES - 1))])


async def test_a_key_is_written_once_in_a_transaction(kv: KV) -> None:
    with pytest.raises(Refused):
        await kv.txn([], [PutOp("/a", b"1"), DeleteOp("/a")])


async def test_a_watch_shows_what_was_and_what_comes_once_in_order(kv: KV) -> None:
    first = await put(kv, "/w/a", b"1")
    await put(kv, "/other")
    await kv.txn([], [PutOp("/w/a", b"2"), PutOp("/w/b", b"3")])
    watch = kv.watch("/w/", first)
    before = await collect(watch, 3)
    await kv.txn([], [DeleteOp("/w/a")])
    await put(kv, "/w/b", b"4")
    after = await collect(watch, 2)
    seen = [(event.key, event.item.value if event.item else None) for event in before + after]
    assert seen == [
        ("/w/a", b"1"),
        ("/w/a", b"2"),
        ("/w/b", b"3"),
        ("/w/a", None),
        ("/w/b", b"4"),
    ]
    revisions = [event.revision for event in before + after]
    assert revisions == sorted(revisions)
    await watch.aclose()


async def test_a_watch_from_a_later_revision_leaves_out_what_came_before(kv: KV) -> None:
    await put(kv, "/a", b"1")
    second = await put(kv, "/a", b"2")
    watch = kv.watch("/", second)
    (event,) = await collect(watch, 1)
    assert event.revision == second
    await watch.aclose()


async def test_a_watch_from_a_revision_to_come_waits_for_it(kv: KV) -> None:
    revision = await put(kv, "/a", b"1")
    watch = kv.watch("/", revision + 2)
    await put(kv, "/a", b"2")
    third = await put(kv, "/a", b"3")
    (event,) = await collect(watch, 1)
    assert event.revision == third
    await watch.aclose()


async def test_a_watch_reaches_every_revision_that_was_answered(kv: KV) -> None:
    watch = kv.watch("/w/", 1)
    revision = await put(kv, "/elsewhere")
    async with asyncio.timeout(10):
        while (await anext(watch)).revision < revision:
            pass
    await watch.aclose()


async def test_watching_while_many_write_replays_to_what_a_listing_says(kv: KV) -> None:
    watch = kv.watch("/", 1)

    async def write(worker: int) -> None:
        for turn in range(20):
            key = f"/{(worker * 7 + turn) % 11}"
            if turn % 3 == 2:
                await kv.txn([], [DeleteOp(key)])
            else:
                await put(kv, key, f"{worker}.{turn}".encode())

    replayed: dict[str, bytes] = {}
    last = 0

    async def follow(until: int) -> None:
        nonlocal last
        while True:
            batch = await anext(watch)
            for event in batch.events:
                assert event.revision >= last
                last = event.revision
                if event.item is None:
                    del replayed[event.key]
                else:
                    replayed[event.key] = event.item.value
            if batch.revision >= until:
                return

    await asyncio.gather(follow(1), *(write(worker) for worker in range(8)))
    found = await kv.range("/")
    if last < found.revision:
        async with asyncio.timeout(10):
            await follow(found.revision)
    assert replayed == {item.key: item.value for item in found.items}
    await watch.aclose()


async def test_compaction_forgets_history_but_no_key(kv: KV) -> None:
    await put(kv, "/old", b"kept")
    await put(kv, "/a", b"1")
    await kv.txn([], [DeleteOp("/a")])
    last = await put(kv, "/a", b"2")
    await kv.compact(last)
    with pytest.raises(Compacted):
        await anext(kv.watch("/", last - 1))
    watch = kv.watch("/", last)
    (event,) = await collect(watch, 1)
    assert event.revision == last
    await watch.aclose()
    assert [(i.key, i.value) for i in (await kv.range("/")).items] == [
        ("/a", b"2"),
        ("/old", b"kept"),
    ]


async def test_compaction_never_goes_back_nor_beyond_now(kv: KV) -> None:
    revision = await put(kv, "/a")
    await kv.compact(revision + 100)
    await kv.compact(0)
    later = await put(kv, "/a", b"2")
    watch = kv.watch("/", later)
    assert [event.revision for event in await collect(watch, 1)] == [later]
    await watch.aclose()


async def test_a_lease_takes_its_keys_with_it(kv: KV, clock: ManualClock) -> None:
    lease = await kv.grant(10)
    await put(kv, "/leased", b"x", lease)
    await put(kv, "/free")
    await clock.advance(6)
    await kv.keepalive(lease)
    await clock.advance(6)
    assert await kv.get("/leased") is not None
    await clock.advance(10)
    with pytest.raises(Conflict):
        await kv.keepalive(lease)
    assert [item.key for item in (await kv.range("/")).items] == ["/free"]


async def test_an_ended_lease_binds_no_key(kv: KV, clock: ManualClock) -> None:
    lease = await kv.grant(1)
    await clock.advance(2)
    with pytest.raises(Conflict):
        await put(kv, "/a", b"x", lease)
    assert await kv.get("/a") is None


async def test_a_key_written_again_without_the_lease_outlives_it(kv: KV) -> None:
    lease = await kv.grant(10)
    await put(kv, "/a", b"1", lease)
    await put(kv, "/a", b"2")
    await kv.revoke(lease)
    found = await kv.get("/a")
    assert found is not None
    assert found.lease == 0


async def test_revoking_is_one_revision_seen_by_watches(kv: KV) -> None:
    lease = await kv.grant(10)
    revision = (await kv.txn([], [PutOp("/a", b"", lease), PutOp("/b", b"", lease)])).revision
    await kv.revoke(lease)
    watch = kv.watch("/", revision + 1)
    events = await collect(watch, 2)
    assert [(event.key, event.item, event.revision) for event in events] == [
        ("/a", None, revision + 1),
        ("/b", None, revision + 1),
    ]
    await watch.aclose()


async def test_closing_ends_watches_and_refuses_writes(kv: KV) -> None:
    watch = kv.watch("/", 1)
    await put(kv, "/a")
    await collect(watch, 1)
    await kv.close()
    with pytest.raises(Unavailable):
        await collect(watch, 1_000)
    with pytest.raises(Unavailable):
        await put(kv, "/a")
