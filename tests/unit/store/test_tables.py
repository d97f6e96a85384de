"""Tables: the World follows the store, and a commit never rests on data that has changed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stackd.core.model.ids import RevisionId
from stackd.core.model.node import NodeReport
from stackd.core.model.record import Change, Changes, Delete, Put, Ref, ref
from stackd.core.model.release import Hold, Stack
from stackd.errors import Conflict, Refused, Unavailable
from stackd.store import codec
from stackd.store.kv import DeleteOp, PutOp
from stackd.store.tables import KEEP, RELIST, Fence, Tables, store_key
from tests.fakes.harness import Harness

A = ref(Stack, "a")
B = ref(Stack, "b")


def stack(name: str, release: int = 1) -> Stack:
    return Stack(name=name, owner="cli", release=release)


def changes(*puts: Stack, relies: tuple[Ref, ...] = ()) -> Changes:
    return Changes(changes=tuple(Put(record=put) for put in puts), relies=relies)


@pytest_asyncio.fixture
async def h() -> AsyncIterator[Harness]:
    async with Harness() as harness:
        yield harness


async def behind_its_back(h: Harness, record: Stack) -> None:
    """Another manager writes; the World has not seen it yet when this returns."""
    place = Ref(table=record.TABLE, key=record.key)
    await h.store.txn([], [PutOp(store_key(place), codec.encode(record))])


async def test_the_world_has_what_was_committed_when_commit_returns(h: Harness) -> None:
    revision = await h.tables.commit(changes(stack("a")))
    assert h.world.get(Stack, "a") == stack("a")
    assert h.world.rev("stacks", "a") == revision
    assert h.world.revision >= revision


async def test_what_another_wrote_reaches_the_world(h: Harness) -> None:
    await behind_its_back(h, stack("a", 7))
    await h.settle()
    assert h.world.get(Stack, "a") == stack("a", 7)


async def test_opening_loads_what_is_there(h: Harness) -> None:
    await h.put(stack("a"), stack("b"))
    other = Tables(h.store, h.clock)
    await other.open()
    assert list(other.world.all(Stack)) == [stack("a"), stack("b")]
    assert other.world.revision == h.world.revision
    assert other.world.rev("stacks", "a") == h.world.rev("stacks", "a")


@pytest.mark.parametrize(
    "change", [Put(record=stack("a", 2)), Delete(ref=A)], ids=["put", "delete"]
)
async def test_a_change_conflicts_with_a_newer_record(h: Harness, change: Change) -> None:
    await h.put(stack("a", 1))
    await behind_its_back(h, stack("a", 9))
    with pytest.raises(Conflict):
        await h.tables.commit(Changes(changes=(change,)))
    assert h.world.get(Stack, "a") == stack("a", 9), "after a conflict the World is up to date"


async def test_a_commit_conflicts_when_what_it_relied_on_has_changed(h: Harness) -> None:
    await h.put(stack("a", 1))
    await behind_its_back(h, stack("a", 2))
    with pytest.raises(Conflict):
        await h.tables.commit(changes(stack("b"), relies=(A,)))
    assert h.world.get(Stack, "b") is None


async def test_a_commit_can_rely_on_absence(h: Harness) -> None:
    await h.tables.commit(changes(stack("a"), relies=(B,)))
    await behind_its_back(h, stack("b"))
    with pytest.raises(Conflict):
        await h.tables.commit(changes(stack("a", 2), relies=(B,)))


async def test_conditions_are_those_of_the_moment_of_preparing(h: Harness) -> None:
    await h.put(stack("a", 1))
    prepared = h.tables.prepare(changes(stack("a", 2)))
    await h.put(stack("a", 5))
    with pytest.raises(Conflict):
        await h.tables.submit(prepared)
    assert h.world.get(Stack, "a") == stack("a", 5)


async def test_a_commit_with_a_lost_fence_writes_nothing(h: Harness) -> None:
    revision = (await h.store.txn([], [PutOp("/leader", b"one")])).revision
    fence = Fence("/leader", revision)
    await h.tables.commit(changes(stack("a", 1)), fence)
    await h.store.txn([], [PutOp("/leader", b"two")])
    with pytest.raises(Unavailable, match="no longer leads"):
        await h.tables.commit(changes(stack("a", 2)), fence)
    assert h.world.get(Stack, "a") == stack("a", 1)


async def test_a_subscription_is_first_everything_then_what_changed(h: Harness) -> None:
    subscription = h.tables.subscribe(Stack)
    assert (await subscription.next()).everything
    await h.put(stack("a"))
    await h.put(stack("a", 2), stack("b"))
    await h.put(Hold(stack="a", service="s", revision=RevisionId("r"), reason="", at=0))
    dirty = await subscription.next()
    assert not dirty.everything
    assert dirty.refs == {A, B}


async def test_a_subscription_that_times_out_has_nothing_dirty(h: Harness) -> None:
    subscription = h.tables.subscribe(Stack)
    await subscription.next()
    waiting = asyncio.ensure_future(subscription.next(5))
    await h.advance(4.9)
    assert not waiting.done()
    await h.advance(0.2)
    dirty = await waiting
    assert not dirty.everything
    assert not dirty.refs


async def test_what_was_given_back_comes_again_with_what_is_new(h: Harness) -> None:
    subscription = h.tables.subscribe(Stack)
    await subscription.next()
    await h.put(stack("a"))
    dirty = await subscription.next()
    subscription.again(dirty)
    await h.put(stack("b"))
    assert (await subscription.next()).refs == {A, B}


async def test_a_record_that_cannot_be_read_is_set_aside_and_the_others_go_on(h: Harness) -> None:
    await h.put(stack("a"))
    await h.store.txn(
        [],
        [
            PutOp(store_key(A), b"garbage"),
            PutOp("/stackd/unheard_of/x", b"garbage"),
            PutOp("/stackd/odd", b"garbage"),
            PutOp(store_key(B), codec.encode(stack("not-b"))),
            PutOp(store_key(ref(Stack, "c")), codec.encode(stack("c"))),
        ],
    )
    await h.settle()
    assert [s.name for s in h.world.all(Stack)] == ["c"]
    assert len(h.tables.quarantine) == 4
    assert "not-b" in h.tables.quarantine[B].reason


async def test_opening_sets_aside_what_it_cannot_read(h: Harness) -> None:
    await h.store.txn([], [PutOp(store_key(A), b"garbage")])
    await h.put(stack("b"))
    other = Tables(h.store, h.clock)
    await other.open()
    assert [s.name for s in other.world.all(Stack)] == ["b"]
    assert list(other.quarantine) == [A]


async def test_a_record_set_aside_can_be_replaced_or_removed(h: Harness) -> None:
    await h.store.txn([], [PutOp(store_key(A), b"garbage"), PutOp(store_key(B), b"garbage")])
    await h.settle()
    await h.put(stack("a"))
    await h.delete(Stack, "b")
    assert h.tables.quarantine == {}
    assert [s.name for s in h.world.all(Stack)] == ["a"]
    assert await h.store.get(store_key(B)) is None


async def test_a_watch_that_went_mute_is_made_good_by_the_next_listing(h: Harness) -> None:
    await h.put(stack("a"), stack("gone"))
    h.store.faults.mute = True
    await behind_its_back(h, stack("a", 2))
    await behind_its_back(h, stack("b"))
    await h.store.txn([], [DeleteOp(store_key(ref(Stack, "gone")))])
    subscription = h.tables.subscribe(Stack)
    await subscription.next()
    await h.settle()
    assert h.world.get(Stack, "b") is None
    await h.advance(RELIST + 1)
    assert list(h.world.all(Stack)) == [stack("a", 2), stack("b")]
    assert (await subscription.next()).everything


async def test_a_listing_leaves_alone_what_lives_in_memory(h: Harness) -> None:
    report = NodeReport(id="n1", applied=3)  # type: ignore[arg-type]
    h.tables.remember(report)
    await h.advance(RELIST + 1)
    assert h.world.get(NodeReport, "n1") == report


async def test_a_watch_older_than_the_kept_history_lists_again(h: Harness) -> None:
    await h.put(stack("a"))
    other = Tables(h.store, h.clock)
    await other.open()
    await h.put(stack("a", 2))
    await h.put(stack("b"))
    await h.delete(Stack, "b")
    await h.store.compact(h.store.revision)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(other.run())
        await h.settle()
        assert list(other.world.all(Stack)) == [stack("a", 2)]
        running.cancel()


async def test_history_is_compacted_but_kept_for_slow_watches(h: Harness) -> None:
    await h.put(stack("a"))
    h.store.revision += KEEP + 5
    await h.put(stack("b"))
    await h.advance(RELIST + 1)
    assert h.store.compacted == h.store.revision - KEEP


async def test_records_in_memory_are_seen_and_never_stored(h: Harness) -> None:
    subscription = h.tables.subscribe(NodeReport)
    await subscription.next()
    before = h.store.revision
    h.tables.remember(NodeReport(id="n1", applied=3))  # type: ignore[arg-type]
    assert (await subscription.next()).refs == {ref(NodeReport, "n1")}
    h.tables.forget(NodeReport, "n1")
    assert (await subscription.next()).refs == {ref(NodeReport, "n1")}
    assert h.world.get(NodeReport, "n1") is None
    assert h.store.revision == before


async def test_a_commit_that_is_too_large_is_refused(h: Harness) -> None:
    with pytest.raises(Refused):
        await h.tables.commit(changes(*(stack(f"s{i}") for i in range(101))))
    with pytest.raises(Refused):
        await h.tables.commit(changes(stack("a"), stack("a", 2)))


async def test_who_waits_for_the_world_is_told_when_it_stops() -> None:
    async with Harness() as h:
        h.store.faults.mute = True
        waiting = asyncio.ensure_future(h.tables.commit(changes(stack("a"))))
        await h.settle()
        assert not waiting.done()
    with pytest.raises(Unavailable):
        await waiting


async def test_a_store_that_takes_no_writes_is_known_until_it_does(h: Harness) -> None:
    h.store.faults.unavailable = True
    with pytest.raises(Unavailable):
        await h.tables.commit(changes(stack("a")))
    assert "does not answer" in h.tables.trouble
    h.store.faults.unavailable = False
    await h.tables.commit(changes(stack("a")))
    assert not h.tables.trouble
