"""One leader at a time; who lost it writes nothing more and has nothing left running."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stackd.core.model.record import Changes, Put
from stackd.core.model.release import Stack
from stackd.errors import Corrupt, Unavailable
from stackd.manager.leader import EPOCH_KEY, TTL, Leader, LeaderTask
from stackd.manager.loop import Context
from stackd.store.kv import DeleteOp, PutOp
from stackd.store.tables import Fence
from tests.fakes.harness import Harness


class Probe:
    """A leader task that notes when it runs and for which epoch."""

    def __init__(self) -> None:
        self.running = 0
        self.fences: list[Fence] = []

    async def work(self, context: Context) -> None:
        assert context.fence is not None
        self.fences.append(context.fence)
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1


@asynccontextmanager
async def leading(h: Harness, name: str, *tasks: LeaderTask) -> AsyncIterator[asyncio.Task[None]]:
    leader = Leader(h.store, name, Context(h.tables, h.clock, h.ids), tasks)
    task = asyncio.ensure_future(leader.run())
    await h.settle()
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_leads_and_the_second_waits_until_it_is_gone() -> None:
    one, two = Probe(), Probe()
    async with Harness() as h, leading(h, "one", one.work) as first:
        async with leading(h, "two", two.work):
            assert (one.running, two.running) == (1, 0)
            await h.advance(10 * TTL)
            assert (one.running, two.running) == (1, 0)
            first.cancel()
            await h.settle()
            assert (one.running, two.running) == (0, 1)
            assert two.fences[0].revision > one.fences[0].revision


async def test_losing_the_lease_ends_all_tasks_and_their_writes() -> None:
    one, two = Probe(), Probe()
    async with Harness() as h, leading(h, "one", one.work, two.work):
        fence = one.fences[0]
        await h.store.revoke(1)
        changes = Changes(changes=(Put(record=Stack(name="a", owner="cli", release=1)),))
        with pytest.raises(Unavailable, match="no longer leads"):
            await h.tables.commit(changes, fence)
        await h.advance(TTL / 3)
        assert len(one.fences) == 2, "it campaigned again"
        assert (one.running, two.running) == (1, 1)


async def test_a_manager_whose_store_is_silent_stops_leading() -> None:
    probe = Probe()
    async with Harness() as h, leading(h, "one", probe.work):
        h.store.faults.unavailable = True
        await h.advance(TTL - 1)
        assert probe.running == 1
        await h.advance(TTL)
        assert probe.running == 0
        h.store.faults.unavailable = False
        await h.advance(2 * TTL)
        assert probe.running == 1


async def test_a_usurped_epoch_key_fences_the_old_leader() -> None:
    probe = Probe()
    async with Harness() as h, leading(h, "one", probe.work):
        await h.store.txn([], [DeleteOp(EPOCH_KEY)])
        await h.store.txn([], [PutOp(EPOCH_KEY, b"two")])
        with pytest.raises(Unavailable):
            await h.tables.commit(
                Changes(changes=(Put(record=Stack(name="a", owner="cli", release=1)),)),
                probe.fences[0],
            )
        assert h.world.get(Stack, "a") is None


async def test_a_failing_task_ends_the_term_and_a_new_one_begins() -> None:
    probe = Probe()
    terms: list[int] = []

    async def fail_first(context: Context) -> None:
        terms.append(1)
        if len(terms) == 1:
            raise ZeroDivisionError("bug")
        await asyncio.Event().wait()

    async with Harness() as h, leading(h, "one", probe.work, fail_first):
        assert probe.running == 0
        await h.advance(2)
        assert probe.running == 1
        assert len(terms) == 2


async def test_a_corrupt_store_stops_the_process() -> None:
    async def find_corruption(context: Context) -> None:
        raise Corrupt("The store cannot be trusted.")

    async with Harness() as h, leading(h, "one", find_corruption) as task:
        with pytest.raises(Corrupt):
            await task
