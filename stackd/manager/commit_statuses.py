"""Tells forges what became of each commit: one worker for each repository that asks for it.

Part of the leader's task group. It watches what the other loops write and holds up none of them:
a forge that is slow or away only delays its own news. What was told is recorded when the forge
has taken it, so that a new leader does not tell it again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from stackd.aio.backoff import Backoff
from stackd.aio.loop import forever
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Hold, Release, Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.source import CommitReport, CommitState, Repository, RepositoryStatus
from stackd.core.model.task import TaskStatus
from stackd.core.rollout import reported
from stackd.core.rollout.outcome import Code
from stackd.core.rollout.reported import Said
from stackd.errors import Corrupt, StackdError, Unavailable
from stackd.manager.loop import Context
from stackd.web import forges
from stackd.web.fetch import fetch

log = logging.getLogger(__name__)

WATCHED = (
    Repository,
    RepositoryStatus,
    Stack,
    Release,
    ServiceState,
    ToggleState,
    Hold,
    TaskStatus,
)
LATEST = 10.0
"""Seconds after which what is still open is looked at again."""
KEPT = 20
"""Reports kept of a repository."""
AT_ONCE = 100
"""Stacks judged without letting others run."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks, in which what comes is collected; the first and the longest
    pause after a failure."""

    rest: float = 1.0
    first: float = 2.0
    most: float = 300.0


@dataclass(slots=True)
class _Open:
    """A commit and its stacks that have not come to their end."""

    commit: str
    stacks: set[str]
    count: int


@dataclass(slots=True)
class _Sending:
    """How the forge takes what it is told."""

    backoff: Backoff
    not_before: float = 0.0
    failing: bool = False


class CommitStatuses:
    """Runs while its manager leads. `token` opens a repository's sealed status token."""

    def __init__(
        self, context: Context, token: Callable[[Repository], str], pace: Pace = Pace()
    ) -> None:
        self._context = context
        self._token = token
        self._pace = pace
        self._workers: dict[str, tuple[Repository, asyncio.Task[None]]] = {}

    async def run(self) -> NoReturn:
        """Until cancelled."""
        tables, clock = self._context.tables, self._context.clock
        subscription = tables.subscribe(Repository)
        wait: float | None = None
        try:
            async with asyncio.TaskGroup() as group:

                async def step() -> None:
                    nonlocal wait
                    await subscription.next(wait)
                    wait = LATEST  # what fails is done again
                    await self._arrange(group)
                    wait = None

                await forever("commit statuses", clock, step)
        finally:
            tables.unsubscribe(subscription)

    async def _arrange(self, group: asyncio.TaskGroup) -> None:
        found = self._context.tables.world.all(Repository)
        wanted = {repository.name: repository for repository in found if repository.forge}
        for name, (repository, task) in list(self._workers.items()):
            if repository != wanted.get(name):
                task.cancel()
                await asyncio.wait([task])
                del self._workers[name]
        for name, repository in wanted.items():
            if name not in self._workers:
                worker = _Worker(self._context, repository, self._token, self._pace)
                task = group.create_task(worker.run(), name=f"commit statuses {name}")
                self._workers[name] = (repository, task)
        await self._forget(set(wanted))

    async def _forget(self, kept: set[str]) -> None:
        """Reports of repositories that are gone."""
        tables = self._context.tables
        for report in tables.world.all(CommitReport):
            if report.repository not in kept:
                gone = Changes(changes=(Delete(ref=ref(CommitReport, report.key)),))
                await tables.commit(gone, self._context.fence)


class _Worker:
    """One repository."""

    def __init__(
        self,
        context: Context,
        repository: Repository,
        token: Callable[[Repository], str],
        pace: Pace,
    ) -> None:
        self._context = context
        self._repository = repository
        self._token = token
        self._pace = pace
        self._open: dict[str, _Open] = {}
        self._sending = _Sending(Backoff(first=pace.first, most=pace.most))

    async def run(self) -> None:
        """Until cancelled."""
        tables, clock = self._context.tables, self._context.clock
        subscription = tables.subscribe(*WATCHED)
        wait = 0.0

        async def step() -> None:
            nonlocal wait
            await subscription.next(wait or None)
            wait = LATEST  # a look that fails comes again
            wait = await self._look()
            await clock.sleep(self._pace.rest)

        try:
            await forever(f"commit statuses {self._repository.name}", clock, step)
        finally:
            tables.unsubscribe(subscription)

    async def _look(self) -> float:
        """Say what is new; returns after how many seconds to look again, 0 = only when something
        changes."""
        status = self._context.tables.world.get(RepositoryStatus, self._repository.name)
        if status is None or not (status.commit or status.waiting):
            return 0.0
        self._follow(status)
        pause = 0.0
        for one in list(self._open.values()):
            said = await self._judge(status, one)
            before = self._told(one.commit)
            known = before is not None and (before.state, before.kind) == (said.state, said.kind)
            if not known:
                pause = await self._say(one.commit, said)
                if pause:
                    break
            if said.state in (CommitState.SUCCESS, CommitState.SUPERSEDED):
                del self._open[one.commit]
        return pause or (LATEST if self._open else 0.0)

    def _follow(self, status: RepositoryStatus) -> None:
        """Have the newest commit among the open ones, and those before it that were left open."""
        wanted = [r.commit for r in self._reports() if r.state is CommitState.PENDING]
        for newest in filter(None, (status.commit, status.waiting)):
            told = self._told(newest)
            if told is None or told.state is CommitState.FAILURE:
                wanted.append(newest)
        for commit in wanted:
            if commit not in self._open:
                stacks = reported.owned(self._context.tables.world, self._repository.name)
                self._open[commit] = _Open(commit, set(stacks), len(stacks))
        for commit in self._open.keys() - set(wanted):
            del self._open[commit]

    async def _judge(self, status: RepositoryStatus, one: _Open) -> Said:
        world, clock = self._context.tables.world, self._context.clock
        if (said := reported.of_repository(status, one.commit)) is not None:
            return said
        owner = f"repo:{self._repository.name}"
        found: list[tuple[Code, Said]] = []
        for number, stack in enumerate(sorted(one.stacks), 1):
            head = world.get(Stack, stack)
            if head is None or head.owner != owner:
                one.stacks.discard(stack)
                one.count -= 1
                continue
            code, said = reported.of_stack(world, stack, one.commit, clock.now())
            if code is Code.DONE:
                one.stacks.discard(stack)
            else:
                found.append((code, said))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return reported.joined(found, one.count)

    async def _say(self, commit: str, said: Said) -> float:
        """Tell the forge and record it; returns how long to wait when it does not take it."""
        clock, sending, repository = self._context.clock, self._sending, self._repository
        if (early := sending.not_before - clock.now()) > 0:
            return early
        assert repository.forge is not None
        status = forges.Status(commit, said.state, said.text, f"stackd/{repository.name}")
        request = forges.call(
            repository.forge, repository.status_url, self._token(repository), status
        )
        try:
            answer = await fetch(request)
            if not forges.taken(repository.forge, answer):
                raise Unavailable(
                    f"{repository.forge} answered {answer.status}", retry_after=answer.retry_after
                )
        except Corrupt:
            raise
        except StackdError as error:
            return await self._failed(commit, error)
        sending.backoff.reset()
        sending.failing = False
        await self._record(commit, said)
        return 0.0

    async def _failed(self, commit: str, error: StackdError) -> float:
        """An event for the first failure in a row; returns the pause."""
        sending, clock = self._sending, self._context.clock
        asked = error.retry_after if isinstance(error, Unavailable) else 0.0
        pause = max(sending.backoff.next(), min(asked, 3600.0))
        sending.not_before = clock.now() + pause
        if not sending.failing:
            sending.failing = True
            name = self._repository.name
            text = (
                f"{name}: the status of {commit[:12]} is not told: {error.cause}; it is tried again"
            )
            log.warning("%s", text)
            event = Event(
                id=next(self._context.ids),
                at=clock.now(),
                kind="commit-status.failed",
                object=name,
                principal="manager",
                text=text,
            )
            await self._commit(Changes(changes=(Put(record=event),)))
        return pause

    async def _record(self, commit: str, said: Said) -> None:
        report = CommitReport(
            repository=self._repository.name,
            commit=commit,
            state=said.state,
            kind=said.kind,
            text=said.text[:500],
            sent=self._context.clock.now(),
        )
        old = sorted(self._reports(), key=lambda r: r.sent)[: -KEPT or None]
        deletes = tuple(Delete(ref=ref(CommitReport, r.key)) for r in old if r.commit != commit)
        place = ref(Repository, self._repository.name)
        await self._commit(Changes(changes=(Put(record=report), *deletes), relies=(place,)))

    async def _commit(self, changes: Changes) -> None:
        await self._context.tables.commit(changes, self._context.fence)

    def _told(self, commit: str) -> CommitReport | None:
        key = f"{self._repository.name}/{commit}"
        return self._context.tables.world.get(CommitReport, key)

    def _reports(self) -> list[CommitReport]:
        found = self._context.tables.world.all(CommitReport)
        return [report for report in found if report.repository == self._repository.name]
