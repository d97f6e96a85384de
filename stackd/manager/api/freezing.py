"""`freeze` and `unfreeze`: one pure command and one commit each."""

from stackd.core.model.api import FreezeRequest, NameRequest, Text
from stackd.core.rollout import freezing
from stackd.core.rollout.commands import Asked
from stackd.errors import Refused
from stackd.manager.api import names
from stackd.manager.loop import Context
from stackd.wire.control import Caller


class FreezeApi:
    """Handlers about freezes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tables = context.tables

    async def freeze(self, request: FreezeRequest, caller: Caller) -> Text:
        """Let no new rollout begin in a stack, or in any."""
        stack, asked = self._stack(request.name), self._asked(caller)
        if request.until and request.seconds:
            raise Refused("until and seconds exclude each other.", "Give one of them.")
        until = asked.now + request.seconds if request.seconds else request.until
        changes = freezing.freeze(self._tables.world, stack, asked, request.reason, until)
        await self._tables.commit(changes, self._context.fence)
        made = freezing.standing(self._tables.world, stack, asked.now)[-1]
        return Text(text=f"{stack or 'Every stack'} is {freezing.words(made)}.")

    async def unfreeze(self, request: NameRequest, caller: Caller) -> Text:
        """Let rollouts begin again."""
        stack, asked = self._stack(request.name), self._asked(caller)
        changes = freezing.unfreeze(self._tables.world, stack, asked)
        await self._tables.commit(changes, self._context.fence)
        left = freezing.standing(self._tables.world, stack, asked.now)
        if left:
            return Text(text=f"{stack} is still {freezing.words(left[0])}.")
        return Text(text=f"{stack or 'The cluster'} is no longer frozen.")

    def _stack(self, name: str) -> str:
        """The stack meant; '' = all. Raises Refused."""
        if "/" in name:
            raise Refused(f"{name} is a service.", "Freeze its whole stack.")
        return names.stack_of(self._tables.world, name).name if name else ""

    def _asked(self, caller: Caller) -> Asked:
        return Asked(caller.principal, self._context.clock.now(), self._context.ids.__next__)
