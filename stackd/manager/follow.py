"""Follows one repository: looks at the remote, and has what is new there made so.

Started and ended by `manager.source`. What a commit does is `manager.processing`'s; whether it may,
where a person is asked, `manager.approval`'s.
"""

import asyncio

from stackd.core.model.source import Repository, RepositoryStatus
from stackd.errors import StackdError
from stackd.git.repo import GitRepo
from stackd.manager.approval import Gate
from stackd.manager.noting import Leader, Noted
from stackd.manager.processing import Processor

CHECKED_EVERY = 60.0
"""Seconds between two notes that nothing has changed."""


class Follower:
    """Processes commits of one repository, one at a time."""

    def __init__(self, repository: Repository, git: GitRepo, leader: Leader) -> None:
        self.repository = repository
        self._git = git
        self._leader = leader
        self._noted = Noted(repository, leader)
        self._processor = Processor(git, leader, self._noted, repository)
        self._gate = Gate(git, self._noted, self._processor.plan)
        self._baseline = False
        self._turn = asyncio.Lock()

    async def check(self) -> None:
        """Look at the remote once and make what it declares so. Raises StackdError, which is also
        recorded as the repository's error."""
        async with self._turn:
            await self._look()

    async def _look(self) -> None:
        status = self._noted.status()
        sync = status.sync_requested > status.sync_done
        try:
            await self._check(status, pull=sync and status.sync_pull, sync=sync)
        except StackdError as error:
            await self._note(error=f"{error.cause} {error.remedy}".strip(), done=status)
            raise
        except BaseException:
            self._processor.again = True
            raise

    async def _check(self, status: RepositoryStatus, *, pull: bool, sync: bool) -> None:
        commit = await self._newest(status)
        if not self._baseline:
            self._baseline = True
            await self._processor.remember(status.commit)
        if self.repository.manual:
            await self._approved_pass(status)
        now = self._noted.status()
        if now.waiting and now.waiting != commit == now.commit:  # it was taken back
            await self._noted.update(waiting="", plan="")
        if commit != now.commit or self._processor.again or sync:
            if not self.repository.manual or commit == now.approved:
                await self._processor.process(commit, now, pull=pull)
            elif await self._gate.opens(commit, anew=sync):
                await self._processor.process(commit, self._noted.status(), pull=False)
        await self._note(error="", done=status)

    async def _approved_pass(self, status: RepositoryStatus) -> None:
        """Deploy what waited and was approved, also when there is a newer commit."""
        if status.waiting and status.waiting == status.approved:
            await self._processor.process(status.approved, status, pull=False)

    async def approve(self, plan: str, by: str) -> str:
        """Let the commit that waits go, if `plan` is the hash of its plan; returns it. Raises
        Refused."""
        async with self._turn:
            return await self._gate.approve(plan, by)

    async def _newest(self, status: RepositoryStatus) -> str:
        remote = await self._git.ls_remote(self.repository.ref)
        if remote.commit == status.commit and await self._git.has(remote.commit):
            return remote.commit
        return await self._git.fetch(remote)

    async def _note(self, *, error: str, done: RepositoryStatus) -> None:
        """Record the outcome of a look, and that the syncs asked for before it are done."""
        status = self._noted.status()
        quiet = status.error == error and status.sync_done >= done.sync_requested
        if quiet and self._leader.clock.now() - status.checked < CHECKED_EVERY:
            return
        later = status.sync_requested > done.sync_requested
        await self._noted.update(
            error=error,
            checked=self._leader.clock.now(),
            sync_done=done.sync_requested,
            sync_pull=status.sync_pull and later,
        )
