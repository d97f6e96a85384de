"""promote, abort, pause, resume, retry, rollback: one pure command and one commit each."""

from collections.abc import Callable

from stackd.core.model.api import RolloutAnswer, RolloutRequest, Text
from stackd.core.model.record import Changes
from stackd.core.model.release import Revision
from stackd.core.model.rollout import RolloutPhase
from stackd.core.model.world import World
from stackd.core.plan.revision import renewed
from stackd.core.rollout import commands, goback, places
from stackd.core.rollout.commands import Asked
from stackd.errors import Conflict, Refused
from stackd.manager.api import names
from stackd.manager.loop import Context
from stackd.wire.control import Caller

TRIES = 5
Command = Callable[[World, str, str, Asked], Changes]


class RolloutApi:
    """Handlers that steer rollouts."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tables = context.tables

    async def abort(self, request: RolloutRequest, caller: Caller) -> RolloutAnswer:
        """Give a rollout up."""
        return await self._back(request, caller, commands.abort)

    async def pause(self, request: RolloutRequest, caller: Caller) -> Text:
        """Stop a rollout where it is."""
        return await self._service(request, caller, commands.pause, "is paused")

    async def resume(self, request: RolloutRequest, caller: Caller) -> Text:
        """Go on."""
        return await self._service(request, caller, commands.resume, "goes on")

    async def retry(self, request: RolloutRequest, caller: Caller) -> Text:
        """Lift a hold."""
        return await self._service(request, caller, commands.retry, "is tried again")

    async def promote(self, request: RolloutRequest, caller: Caller) -> Text:
        """Go on past a pause."""

        stack, service = names.moving_of(self._tables.world, request.name)
        was = ""

        def promote(world: World, asked: Asked) -> Changes:
            nonlocal was
            commands.meant(world, request.name, request.revision)
            state = places.state_of(world, request.name)
            was = state.rollout.reason if state and state.rollout else ""
            return commands.promote(
                world, stack, service, asked, full=request.full, step=request.step
            )

        await self._commit(caller, promote)
        return Text(text=f"{request.name} goes on{f' ({was})' if was else ''}.")

    async def rollback(self, request: RolloutRequest, caller: Caller) -> RolloutAnswer:
        """Go back to a revision of a service, or to a release of a stack."""
        if "/" in request.name:

            def back(world: World, stack: str, service: str, asked: Asked) -> Changes:
                return commands.rollback(world, stack, service, asked, request.to)

            return await self._back(request, caller, back)
        if request.to and not request.to.isdigit():
            raise Refused(f"{request.to} is not a release.", f"See: stackd history {request.name}")
        names.stack_of(self._tables.world, request.name)
        to = int(request.to or 0)
        notes = await self._commit(
            caller, lambda world, asked: goback.rollback_stack(world, request.name, asked, to)
        )
        text = "; ".join((f"{request.name} goes back", *notes))
        return RolloutAnswer(text=f"{text}.", revision="")

    async def _back(
        self, request: RolloutRequest, caller: Caller, command: Command
    ) -> RolloutAnswer:
        """A command after which another revision than the declared one is to serve."""
        done = await self._service(request, caller, command, "goes back")
        state = places.state_of(self._tables.world, request.name)
        rollout = state.rollout if state else None
        forward = rollout is not None and rollout.phase is RolloutPhase.PROGRESSING
        revision = rollout.target if rollout and forward else state.stable if state else ""
        return RolloutAnswer(text=done.text, revision=revision or "")

    async def _service(
        self, request: RolloutRequest, caller: Caller, command: Command, done: str
    ) -> Text:
        stack, service = names.moving_of(self._tables.world, request.name)

        def decide(world: World, asked: Asked) -> Changes:
            commands.meant(world, request.name, request.revision)
            return command(world, stack, service, asked)

        notes = await self._commit(caller, decide)
        return Text(text=f"{'; '.join((f'{request.name} {done}', *notes))}.")

    async def _commit(
        self, caller: Caller, decide: Callable[[World, Asked], Changes]
    ) -> tuple[str, ...]:
        """Decide and commit; what is different from what was asked for, in sentences."""
        for _ in range(TRIES):
            notes: list[str] = []

            def renew(
                world: World, revision: Revision, notes: list[str] = notes
            ) -> tuple[Revision, tuple[str, ...]]:
                fresh, said = renewed(world, revision)
                notes.extend(said)
                return fresh, said

            asked = Asked(
                caller.principal, self._context.clock.now(), self._context.ids.__next__, renew
            )
            try:
                await self._tables.commit(decide(self._tables.world, asked), self._context.fence)
                return tuple(dict.fromkeys(notes))
            except Conflict:
                continue
        raise Conflict("The rollout is changing too fast.", "Try again.")
