"""Makes what one commit of a repository declares so, and records what came of it.

Stacks whose files changed are deployed, those whose files are gone removed, the others told.
Used by `manager.follow`, which says when, one commit at a time. What was processed is recorded, so
that a new leader does not deploy again what an operator has since rolled back or overridden.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from stackd.core.model.release import Stack
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.errors import StackdError, Stale
from stackd.git.repo import GitRepo
from stackd.manager.approval import UNPLANNED, Approvable, approvable
from stackd.manager.declared import Reader, StackFile, declarations, vanished
from stackd.manager.noting import Leader, Noted
from stackd.manager.requests import Deploy

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Stacks deployed at the same time."""
REMOVED_WITHIN = 60.0
"""Seconds that a removal is waited for before the stack counts as refused; it is tried again."""
KEPT_ANCESTORS = 200
KEPT_SKIPPED = 20
"""Of several commits that come at once, so many are compared with the newest."""


@dataclass(slots=True)
class _Pass:
    """One processing of one commit."""

    commit: str
    files: Mapping[str, StackFile]
    pull: bool
    cause: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    """Stack name -> why its newest declaration does not run."""
    plans: Mapping[str, str] | None = None
    """Stack -> the hash of the plan that was approved; None where nobody is asked."""
    stale: bool = False
    """A stack was no longer as it was planned."""


class Processor:
    """Processes commits of one repository. `again`: the last one has to be processed once more."""

    def __init__(self, git: GitRepo, leader: Leader, noted: Noted, repository: Repository) -> None:
        self._repository = repository
        self._git = git
        self._leader = leader
        self._noted = noted
        self._reader = Reader(repository)
        self._deployed: dict[str, Mapping[str, str]] = {}
        """Stack -> inputs of its last declaration that was taken."""
        self.again = False

    async def remember(self, commit: str) -> None:
        """After a start: what was declared at the commit that was processed last counts as
        deployed, except where the stack says otherwise."""
        if not commit or not await self._git.has(commit):
            self.again = True
            return
        files = await self._git.read(lambda objects: self._reader.read(objects, commit))
        heads = {head.name: head for head in self._noted.owned()}
        for file in files.values():
            head = heads.get(file.name)
            if file.bundle is None:
                continue
            if head is not None and not head.problem:
                self._deployed[file.name] = file.inputs
            else:
                self.again = True

    async def plan(self, commit: str) -> Approvable:
        """What processing a commit would do now; writes nothing."""
        files = await self._git.read(lambda objects: self._reader.read(objects, commit))
        work = _Pass(commit, files, pull=False)
        requests = [self._request(file, work) for file in self._changed(work)]
        return await approvable(self._leader.deployer, commit, requests, self._leaving(work))

    async def process(self, commit: str, status: RepositoryStatus, *, pull: bool) -> None:
        """Make what a commit declares so; with `pull` every image is looked up again."""
        files = await self._git.read(lambda objects: self._reader.read(objects, commit))
        work = _Pass(commit, files, pull)
        if self._repository.manual:
            work.plans = status.plans
        if commit != status.commit:
            work.cause = await self._announce(commit, status.commit)
        good = {file.name for file in files.values() if file.bundle is not None}
        for file in files.values():
            if file.bundle is None and file.name not in good:
                work.problems[file.name] = "; ".join(str(p) for p in file.problems)
        await self._deploy_changed(work)
        await self._remove_vanished(work)
        await self._tell_stacks(work)
        await self._finish(work)

    async def _announce(self, commit: str, before: str) -> str:
        """An event for a new commit, and one if it does not build on the last; returns the id
        that deployments name as their cause."""
        info = await self._git.read(lambda objects: objects.commit(commit))
        name = self._repository.name
        text = f"{name}: commit {commit[:12]} by {info.author}: {info.message}"
        cause = await self._noted.event("repository.commit", text)
        if before and not await self._git.is_descendant(commit, before):
            warning = f"{name}: {commit[:12]} does not build on {before[:12]} (force-push)"
            log.warning("%s", warning)
            await self._noted.event("repository.rewritten", warning, cause)
        return cause

    async def _deploy_changed(self, work: _Pass) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(file: StackFile) -> None:
            async with slots:
                work.problems[file.name] = await self._deploy(file, work)

        async with asyncio.TaskGroup() as group:
            for file in self._changed(work):
                group.create_task(one(file))

    def _changed(self, work: _Pass) -> list[StackFile]:
        """The files to deploy."""
        return [
            file
            for file in work.files.values()
            if file.bundle is not None
            and (work.pull or self._deployed.get(file.name) != file.inputs)
        ]

    def _request(self, file: StackFile, work: _Pass) -> Deploy:
        assert file.bundle is not None
        return Deploy(
            spec=file.bundle.spec,
            contents=file.bundle.contents,
            owner=self._noted.owner,
            by=self._noted.owner,
            commit=work.commit,
            path=file.path,
            pull=work.pull,
            cause=work.cause,
            plan_hash="" if work.plans is None else work.plans.get(file.name, UNPLANNED),
        )

    async def _deploy(self, file: StackFile, work: _Pass) -> str:
        """Deploy one stack; returns why it could not be, or ''."""
        request = self._request(file, work)
        try:
            await self._until_removed(file.name)
            deployed = await self._leader.deployer.deploy(request)
        except StackdError as error:
            work.stale = work.stale or isinstance(error, Stale)
            self._deployed.pop(file.name, None)
            return f"{file.path}: {error.cause} {error.remedy}".strip()
        except Exception as error:
            log.exception("deploying %s failed", file.path)
            self._deployed.pop(file.name, None)
            return f"{file.path}: internal error: {type(error).__name__}"
        if deployed.failed:
            self._deployed.pop(file.name, None)
            return f"{file.path}: {'; '.join(deployed.failed.values())}"
        self._deployed[file.name] = file.inputs
        return ""

    async def _until_removed(self, stack: str) -> None:
        """A stack that is declared again while it is being removed is deployed afterwards."""
        tables = self._leader.tables
        subscription = tables.subscribe(Stack)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REMOVED_WITHIN):
                    while (head := tables.world.get(Stack, stack)) is not None and head.removing:
                        await subscription.next()
        finally:
            tables.unsubscribe(subscription)

    async def _remove_vanished(self, work: _Pass) -> None:
        """Stacks without a file go, if the repository was added so."""
        owned = [head for head in self._noted.owned() if not head.removing]
        leaving = {head.name for head in self._leaving(work)}
        for head in vanished(work.files, owned):
            self._deployed.pop(head.name, None)
            if head.name in leaving:
                await self._leader.deployer.remove(head.name, self._noted.owner, cause=work.cause)
            elif self._repository.prune:
                work.problems[head.name] = (
                    f"{head.path}: the commit declares no stack at all; removing all of them "
                    "needs --allow-empty, so they stay"
                )
            else:
                work.problems[head.name] = (
                    f"{head.path}: the file is gone, and without --prune the stack stays"
                )

    def _leaving(self, work: _Pass) -> list[Stack]:
        """The stacks that go with the commit."""
        owned = [head for head in self._noted.owned() if not head.removing]
        gone = vanished(work.files, owned)
        everything = len(gone) == len(owned) and not self._repository.allow_empty
        return gone if self._repository.prune and not everything else []

    async def _tell_stacks(self, work: _Pass) -> None:
        """Every stack of the repository has now seen the commit, touched by it or not."""
        told = [
            self._leader.deployer.seen(head.name, work.commit, work.problems.get(head.name, ""))
            for head in self._noted.owned()
            if (head.seen_commit, head.problem) != (work.commit, work.problems.get(head.name, ""))
        ]
        for start in range(0, len(told), 100):
            await asyncio.gather(*told[start : start + 100])

    async def _finish(self, work: _Pass) -> None:
        unread = {file.name for file in work.files.values() if file.bundle is None}
        problems = {text for name, text in work.problems.items() if text and name not in unread}
        for file in work.files.values():
            problems.update(str(problem) for problem in file.problems)
        history = await self._git.history(work.commit, KEPT_ANCESTORS)
        skipped = await self._skipped(work, history)
        self.again = any(
            file.bundle is not None and self._deployed.get(file.name) != file.inputs
            for file in work.files.values()
        )
        await self._noted.update(
            commit=work.commit,
            processed=self._leader.clock.now(),
            problems=tuple(sorted(problems))[:200],
            files={path: file.name for path, file in work.files.items()},
            ancestors=history,
            skipped=skipped,
            invalid=self._invalid(work),
            **self._answered(work),
        )

    def _answered(self, work: _Pass) -> Mapping[str, str]:
        """After a commit that was approved: nothing waits any more. What became stale on the way
        is planned and asked for again."""
        if work.plans is None:
            return {}
        done = {"waiting": "", "plan": ""}
        return {**done, "approved": ""} if work.stale else done

    def _invalid(self, work: _Pass) -> Mapping[str, str]:
        """Since which commit each file that is not valid is so."""
        status = self._noted.status()
        now = work.commit if status.commit else ""
        refused = [path for path, file in work.files.items() if file.bundle is None]
        return {path: status.invalid.get(path, now) for path in refused}

    async def _skipped(self, work: _Pass, history: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """For each ancestor that was not processed, the stacks that it declared otherwise."""
        status = self._noted.status()
        known = {sha: names for sha, names in status.skipped.items() if sha in history}
        before = history.index(status.commit) if status.commit in history else len(history)
        fresh = [] if status.commit == work.commit else history[: min(before, KEPT_SKIPPED)]
        now = declarations(work.files)
        for sha in fresh:
            then = await self._git.read(partial(self._reader.look, commit=sha))
            names = now.keys() | then.keys()
            known[sha] = tuple(sorted(n for n in names if now.get(n) != then.get(n)))
        return known
