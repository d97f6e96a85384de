"""Statuses of commits, told to a real HTTP server that stands for a forge."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio

from stackd.aio.clock import SystemClock
from stackd.core.model.event import Event
from stackd.core.model.ids import RevisionId
from stackd.core.model.record import Changes, Delete, Put, Record, ref
from stackd.core.model.release import Hold, Release, ServiceRelease, Stack
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.source import CommitReport, Forge, Repository, RepositoryStatus
from stackd.manager.commit_statuses import CommitStatuses, Pace
from stackd.manager.loop import Context
from stackd.store.tables import Tables
from tests.component.cluster import until
from tests.fakes.forge import ForgeHost, forge_host
from tests.fakes.harness import counted_ids
from tests.fakes.stacks import service, stack
from tests.fakes.store import FakeStore

OLD, NEW = RevisionId("a" * 12), RevisionId("b" * 12)
C1, C2 = "1" * 40, "2" * 40


class Rig:
    """A repository with the stack `shop`, whose one service wants no task."""

    def __init__(self, host: ForgeHost) -> None:
        self.host = host
        self.clock = SystemClock()
        self.tables = Tables(FakeStore(self.clock), self.clock)
        self.context = Context(self.tables, self.clock, counted_ids())
        self.repository = Repository(
            name="ops", url="https://git.example/o/n.git", forge=Forge.GITHUB,
            status_url=f"http://127.0.0.1:{host.port}/repos/o/n",
        )  # fmt: skip

    def statuses(self) -> CommitStatuses:
        return CommitStatuses(self.context, lambda _: "t0k", Pace(0.05, 0.05))

    async def put(self, *records: Record) -> None:
        await self.tables.commit(Changes(changes=tuple(Put(record=r) for r in records)))

    async def commit(self, sha: str, revision: RevisionId, *before: str) -> None:
        """What the source loop writes when the commit has been processed."""
        spec = stack(service(replicas=0))
        services = {"web": ServiceRelease(spec=spec.services["web"], revision=revision)}
        number = len(before) + 1
        await self.put(
            Release(stack="shop", number=number, spec=spec, services=services, commit=sha),
            Stack(name="shop", owner="repo:ops", release=number, commit=sha, seen_commit=sha),
            RepositoryStatus(name="ops", commit=sha, ancestors=before),
        )

    async def service(self, stable: RevisionId, phase: RolloutPhase | None = None) -> None:
        rollout = Rollout(id="r", target=NEW, source=OLD, phase=phase) if phase else None
        await self.put(ServiceState(stack="shop", service="web", stable=stable, rollout=rollout))

    async def told(self, *wanted: tuple[str, str]) -> None:
        """Wait until just these statuses have been told since the last call, and recorded."""
        await until(lambda: len(self.host.statuses()) >= len(wanted))
        assert self.host.statuses() == list(wanted)
        self.host.told.clear()
        await until(lambda: set(wanted) <= self.recorded())

    def recorded(self) -> set[tuple[str, str]]:
        return {(r.commit[0], r.state.value) for r in self.tables.world.all(CommitReport)}


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    with forge_host() as host:
        made = Rig(host)
        await made.tables.open()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.tables.run())
            await made.put(made.repository)
            yield made
            running.cancel()


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.statuses().run())
        yield
        task.cancel()


async def test_a_commit_from_pending_to_success_is_told_once_each(rig: Rig) -> None:
    async with running(rig):
        await rig.service(OLD)
        await rig.commit(C1, OLD)
        await rig.told(("1", "success"))
        await rig.commit(C2, NEW, C1)
        await rig.told(("2", "pending"))
        await rig.service(OLD, RolloutPhase.PROGRESSING)
        await rig.service(OLD, RolloutPhase.PAUSED)
        await until(lambda: rig.host.said("is paused"))
        rig.host.told.clear()
        await rig.service(NEW)
        await until(lambda: bool(rig.host.told))
        [(path, body, token)] = rig.host.told
        assert (path, token) == (f"/repos/o/n/statuses/{C2}", "Bearer t0k")
        assert body == {
            "state": "success", "description": "1 stack as declared", "context": "stackd/ops",
        }  # fmt: skip
        await until(lambda: rig.recorded() == {("1", "success"), ("2", "success")})


async def test_a_refused_commit_is_a_failure_with_its_reason_until_it_is_retried(rig: Rig) -> None:
    async with running(rig):
        await rig.commit(C2, NEW)
        hold = Hold(stack="shop", service="web", revision=NEW, reason="3 tasks failed", at=0.0)
        await rig.put(hold)
        await rig.service(OLD)
        await until(lambda: rig.host.said("3 tasks failed"))
        assert rig.host.statuses()[-1] == ("2", "failure")
        rig.host.told.clear()
        await rig.tables.commit(Changes(changes=(Delete(ref=ref(Hold, hold.key)),)))
        await rig.service(NEW)
        await rig.told(("2", "success"))


async def test_an_invalid_file_and_a_superseded_commit(rig: Rig) -> None:
    async with running(rig):
        await rig.service(OLD, RolloutPhase.PROGRESSING)
        await rig.commit(C1, NEW)
        await rig.told(("1", "pending"))
        await rig.commit(C2, OLD, C1)
        status = RepositoryStatus(
            name="ops", commit=C2, ancestors=(C1,), problems=("a.stack.yml:1:1: bad",)
        )
        await rig.put(status)
        await until(lambda: ("2", "failure") in rig.host.statuses())
        assert ("1", "error") in rig.host.statuses()


async def test_a_forge_that_is_away_is_asked_again_and_told_of_once(rig: Rig) -> None:
    rig.host.answers += [(500, {}), (302, {"Location": "http://127.0.0.1:1/"}), (401, {})]
    async with running(rig):
        await rig.service(OLD)
        await rig.commit(C1, OLD)
        await rig.told(("1", "success"))
    kinds = [event.kind for event in rig.tables.world.all(Event)]
    assert kinds == ["commit-status.failed"]


async def test_a_new_leader_tells_nothing_again_and_goes_on_with_what_was_open(rig: Rig) -> None:
    async with running(rig):
        await rig.service(OLD, RolloutPhase.PROGRESSING)
        await rig.commit(C1, NEW)
        await rig.told(("1", "pending"))
    async with running(rig):
        await asyncio.sleep(0.3)
        assert rig.host.told == []
        await rig.service(NEW)
        await rig.told(("1", "success"))


async def test_reports_go_with_their_repository(rig: Rig) -> None:
    async with running(rig):
        await rig.service(OLD)
        await rig.commit(C1, OLD)
        await rig.told(("1", "success"))
        await rig.put(msgspec.structs.replace(rig.repository, forge=None))
        await until(lambda: not rig.tables.world.count(CommitReport))
