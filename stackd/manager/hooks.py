"""What a webhook of a forge does: the repository is looked at now.

Wired in `manager.leading`; `web.hooks` checks the signature before.
"""

import logging
from collections.abc import Callable

from stackd.core.model.event import Event
from stackd.core.model.record import Changes, Put
from stackd.core.model.source import Repository
from stackd.manager.loop import Context
from stackd.manager.repositories import Repositories

log = logging.getLogger(__name__)


class HookReceiver:
    """For one term of a leader; `look` wakes the follower of a repository."""

    def __init__(
        self, context: Context, repositories: Repositories, look: Callable[[str], None]
    ) -> None:
        self._context = context
        self._repositories = repositories
        self.look = look

    def secret(self, name: str) -> bytes:
        """The secret of a repository's webhook; empty when it has none or is unknown."""
        found = self._context.tables.world.get(Repository, name)
        return self._repositories.secrets(found).webhook if found else b""

    async def refused(self, name: str, caller: str) -> None:
        """An event for a call without a good signature."""
        text = f"{name}: a webhook call from {caller} had no good signature"
        log.warning("%s", text)
        event = Event(
            id=next(self._context.ids),
            at=self._context.clock.now(),
            kind="webhook.refused",
            object=name,
            principal="webhook",
            text=text,
        )
        changes = Changes(changes=(Put(record=event),))
        await self._context.tables.commit(changes, self._context.fence)
