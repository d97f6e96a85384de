"""Pushes the revert of each refused commit of one repository (`repo add --revert-branch`).

Run by `manager.source` beside the repository's follower. Each refused commit is undone once; what
became of it is recorded. A remote that is away is asked again.
"""

import logging

import msgspec

from stackd.aio.backoff import Backoff
from stackd.aio.loop import forever
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Hold, Release, Stack
from stackd.core.model.source import Repository, RepositoryStatus, Revert
from stackd.core.rollout.refused import RefusedCommit, refused, words
from stackd.errors import Refused, Unavailable
from stackd.git.repo import GitRepo
from stackd.git.revert import Undo, push_revert
from stackd.manager.noting import Leader

log = logging.getLogger(__name__)

KEPT = 50
"""Records kept of a repository."""
REST = 0.5
"""Seconds between two looks."""


class Reverter:
    """For one repository, as long as it is followed."""

    def __init__(self, repository: Repository, mirror: GitRepo, leader: Leader) -> None:
        self._repository = repository
        self._mirror = mirror
        self._leader = leader
        self._backoff = Backoff(first=2.0, most=300.0)

    async def run(self) -> None:
        """Until cancelled."""
        tables, clock = self._leader.tables, self._leader.clock
        subscription = tables.subscribe(RepositoryStatus, Stack, Release, Hold)
        wait: float | None = None

        async def step() -> None:
            nonlocal wait
            await subscription.next(wait)
            wait = 60.0  # a look that fails comes again
            wait = await self._look()
            await clock.sleep(REST)

        try:
            await forever(f"reverts {self._repository.name}", clock, step)
        finally:
            tables.unsubscribe(subscription)

    async def _look(self) -> float | None:
        """Undo what is refused and not undone; returns when to look again at what failed."""
        world = self._leader.tables.world
        for one in refused(world, self._repository.name):
            if world.get(Revert, f"{self._repository.name}/{one.commit}") is not None:
                continue
            try:
                await self._record(await self._undo(one), one)
                self._backoff.reset()
            except Unavailable as error:
                log.warning("reverting %s: %s", one.commit[:12], error.cause)
                return self._backoff.next()
        return None

    async def _undo(self, one: RefusedCommit) -> Revert:
        repository = self._repository
        status = self._leader.tables.world.get(RepositoryStatus, repository.name)
        assert status is not None  # something of it is refused
        undo = Undo(
            commit=one.commit,
            good=one.good,
            tip=status.commit,
            ref=repository.ref,
            branch=repository.revert_branch,
            reason=one.reason,
        )
        now = self._leader.clock.now()
        made = Revert(repository=repository.name, commit=one.commit, reason=one.reason, at=now)
        try:
            pushed = await push_revert(self._mirror, undo)
        except Refused as error:
            return _with(made, problem=f"{error.cause} {error.remedy}".strip())
        return _with(made, branch=pushed.branch, revert=pushed.commit)

    async def _record(self, made: Revert, one: RefusedCommit) -> None:
        """The record and an event that tells of it."""
        leader, name = self._leader, self._repository.name
        event = Event(
            id=next(leader.ids),
            at=leader.clock.now(),
            kind="commit.revert-failed" if made.problem else "commit.reverted",
            object=one.object,
            principal=f"repo:{name}",
            text=words(made),
        )
        mine = [r for r in leader.tables.world.all(Revert) if r.repository == name]
        old = sorted(mine, key=lambda r: r.at)[: -KEPT or None]
        deletes = tuple(Delete(ref=ref(Revert, r.key)) for r in old)
        changes = Changes(
            changes=(Put(record=made), Put(record=event), *deletes),
            relies=(ref(Repository, name),),
        )
        await leader.tables.commit(changes, leader.fence)


def _with(made: Revert, **fields: str) -> Revert:
    return msgspec.structs.replace(made, **fields)
