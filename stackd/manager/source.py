"""The source loop: one follower for each repository, woken by commits, timers and `repo sync`.

Part of the leader's task group. Local repositories are watched, remote ones polled; both are
looked at again after an error with growing pauses. One repository never waits for another.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stackd.aio.loop import Bell
from stackd.core.model.api import CompareAnswer, CompareRequest
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.errors import Corrupt, Refused, StackdError, Unknown
from stackd.git.environment import Credential, Git
from stackd.git.repo import GitRepo, forget_mirrors
from stackd.git.urls import check_url
from stackd.git.watch import Pace, local_changes
from stackd.manager.compare import Ends, compared
from stackd.manager.declared import Declared, Reader
from stackd.manager.follow import Follower
from stackd.manager.noting import Leader
from stackd.manager.reverts import Reverter

log = logging.getLogger(__name__)

WATCH_AGAIN = 10.0
"""Seconds until a local repository that could not be watched is watched again."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where mirrors are kept, where files of one command may be put (a tmpfs), and who opens a
    repository's sealed credential."""

    mirrors: Path
    private: Path
    credential: Callable[[Repository], Credential]


@dataclass(slots=True)
class _Worker:
    repository: Repository
    mirror: GitRepo
    follower: Follower
    bell: Bell
    task: "asyncio.Task[None]"


class Source:
    """Runs while its manager leads."""

    def __init__(self, leader: Leader, places: Places) -> None:
        self._leader = leader
        self._places = places
        self._workers: dict[str, _Worker] = {}

    async def run(self) -> NoReturn:
        """Follow every repository until cancelled."""
        tables = self._leader.tables
        subscription = tables.subscribe(Repository, RepositoryStatus)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await subscription.next()
                    await self._arrange(group)
        finally:
            tables.unsubscribe(subscription)
        raise AssertionError("the source loop has ended")

    async def _arrange(self, group: asyncio.TaskGroup) -> None:
        """Start, end and wake followers as the records say."""
        world = self._leader.tables.world
        wanted = {repository.name: repository for repository in world.all(Repository)}
        for name, worker in list(self._workers.items()):
            if worker.repository != wanted.get(name):
                worker.task.cancel()
                await asyncio.wait([worker.task])
                del self._workers[name]
        for name, repository in wanted.items():
            if name not in self._workers:
                bell, mirror = Bell(self._leader.clock), self._mirror(repository)
                follower = Follower(repository, mirror, self._leader)
                follow = self._follow(follower, mirror, bell)
                task = group.create_task(follow, name=f"source {name}")
                self._workers[name] = _Worker(repository, mirror, follower, bell, task)
            status = world.get(RepositoryStatus, name)
            if status is not None and status.sync_requested > status.sync_done:
                self._workers[name].bell.ring()
        forget_mirrors(self._places.mirrors, set(wanted))

    def look(self, name: str) -> None:
        """Look at a repository now; one that is unknown is left alone."""
        if (worker := self._workers.get(name)) is not None:
            worker.bell.ring()

    async def declared(self, name: str, commit: str = "") -> Declared:
        """What a repository declares at a commit, or at the remote now; deploys nothing. Raises
        Refused for an unknown repository or commit, Unavailable when the remote is away."""
        worker = self._worker(name)
        mirror, repository = worker.mirror, worker.repository
        try:
            found = await mirror.resolve(commit) if commit else ""
        except Refused:
            found = ""
        if not found:
            newest = await mirror.fetch(await mirror.ls_remote(repository.ref))
            found = await mirror.resolve(commit) if commit else newest
        reader = Reader(repository)
        files = await mirror.read(lambda objects: reader.read(objects, found))
        return Declared(repository, found, files)

    async def compare(self, request: CompareRequest) -> CompareAnswer:
        """What one revision of a repository declares otherwise than another. Raises Refused or
        Unavailable."""
        worker = self._worker(request.repo)
        mirror = worker.mirror
        base, head = await mirror.look_up(request.base), await mirror.look_up(request.head)
        ends = Ends(base, head, await mirror.common(base, head))
        return await mirror.read(lambda objects: compared(worker.repository, objects, ends))

    def _worker(self, name: str) -> _Worker:
        worker = self._workers.get(name)
        if worker is None:
            raise Unknown(f"There is no repository {name}.", "See: stackd repo ls")
        return worker

    async def approve(self, name: str, plan: str, by: str) -> str:
        """Let the commit of a repository go that waits with this plan; returns it. Raises
        Refused."""
        worker = self._worker(name)
        commit = await worker.follower.approve(plan, by)
        worker.bell.ring()
        return commit

    async def _follow(self, follower: Follower, mirror: GitRepo, bell: Bell) -> None:
        """Look, wait, look again. An error of any kind concerns this repository only."""
        repository = follower.repository
        pace = Pace(repository.interval, self._leader.jitter)
        try:
            async with asyncio.TaskGroup() as group:
                if repository.local:
                    group.create_task(self._watch(repository, bell))
                if repository.revert_branch:
                    group.create_task(Reverter(repository, mirror, self._leader).run())
                while True:
                    failed = await self._look(follower, repository.name)
                    await bell.wait(pace.next(failed=failed))
        finally:
            await mirror.close()

    def _mirror(self, repository: Repository) -> GitRepo:
        address = check_url(repository.url, local=repository.local)
        git = Git(address, self._places.private, self._places.credential(repository))
        return GitRepo(self._places.mirrors / repository.name, git)

    async def _look(self, follower: Follower, name: str) -> bool:
        try:
            await follower.check()
        except Corrupt:
            raise
        except StackdError as error:
            log.warning("repository %s: %s", name, error.cause)
            return True
        except Exception:
            log.exception("repository %s", name)
            return True
        return False

    async def _watch(self, repository: Repository, bell: Bell) -> None:
        while True:
            try:
                async for _ in local_changes(Path(repository.url)):
                    bell.ring()
            except StackdError as error:
                log.info("repository %s: %s", repository.name, error.cause)
            await self._leader.clock.sleep(WATCH_AGAIN)
