"""What is recorded of a followed repository: its status, and events about it.

Used by `manager.follow`, `manager.processing` and `manager.approval`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from stackd.aio.clock import Clock
from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Put, ref
from stackd.core.model.release import Stack
from stackd.core.model.source import Repository, RepositoryStatus
from stackd.errors import Conflict
from stackd.manager.requests import StackDeployer
from stackd.store.tables import Fence, Tables


@dataclass(frozen=True, slots=True)
class Leader:
    """What every follower works with."""

    tables: Tables
    fence: Fence | None
    clock: Clock
    ids: Iterator[str]
    deployer: StackDeployer
    jitter: Callable[[], float]


class Noted:
    """The records of one repository. Its stacks are those owned by `owner`."""

    def __init__(self, repository: Repository, leader: Leader) -> None:
        self.name = repository.name
        self.owner = f"repo:{repository.name}"
        self._leader = leader

    def status(self) -> RepositoryStatus:
        """What was seen last."""
        found = self._leader.tables.world.get(RepositoryStatus, self.name)
        return found or RepositoryStatus(name=self.name)

    def owned(self) -> list[Stack]:
        """The repository's stacks, those that are being removed too."""
        world = self._leader.tables.world
        return [head for head in world.all(Stack) if head.owner == self.owner]

    async def update(self, **fields: object) -> None:
        """Write fields of the status; a sync asked for meanwhile is kept. Nothing is written for
        a repository that has just been removed."""
        place = ref(Repository, self.name)
        while self._leader.tables.world.get(Repository, place.key) is not None:
            record = msgspec.structs.replace(self.status(), **fields)
            changes = Changes(changes=(Put(record=record),), relies=(place,))
            try:
                await self._leader.tables.commit(changes, self._leader.fence)
                return
            except Conflict:
                continue

    async def event(self, kind: str, text: str, cause: str = "", by: str = "") -> str:
        """Record what happened to the repository; returns the event's id."""
        event = Event(
            id=next(self._leader.ids),
            at=self._leader.clock.now(),
            kind=kind,
            object=self.name,
            principal=by or self.owner,
            cause=cause,
            text=text,
        )
        changes = Changes(changes=(Put(record=event),))
        await self._leader.tables.commit(changes, self._leader.fence)
        return event.id
