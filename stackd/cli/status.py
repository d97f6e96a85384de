"""`stackd status`: what runs, what is wanted, what is in the way; --watch redraws it, and at a
terminal keys promote and abort the rollout of the service that is watched."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.live import Live

from stackd.aio.tasks import together
from stackd.cli.connect import AGAIN, call, connected, run
from stackd.cli.drawing import draw, stepped
from stackd.cli.fitting import Fitted
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import print_json
from stackd.cli.table import pages
from stackd.cli.target import Target
from stackd.cli.terminal import STDIN, keys, unbuffered
from stackd.core.model.api import (
    NameRequest,
    RolloutAnswer,
    RolloutRequest,
    StackStatus,
    StatusAnswer,
    TaskRows,
    Text,
)
from stackd.errors import StackdError, Unreachable
from stackd.wire.control_client import ControlClient

_KEYS = "p promote   a abort   q quit"


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("status")
    def status(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="[STACK[/SERVICE]]")] = "",
        watch: Annotated[bool, typer.Option("-w", "--watch", help="Redraw on change.")] = False,
        output: Output = "text",
    ) -> None:
        """Show the status of everything, a stack or a service.

        Example: stackd status shop --watch
        """
        checked_output(output)
        target = where(context)
        request = NameRequest(name=name)
        if watch and output == "text":
            run(follow(target, name))
            return
        answer = call(target, "Status", request, StatusAnswer)
        if output == "json":
            print_json(_document(answer, name))
            return
        tasks = call(target, "Ps", request, TaskRows)
        pages().print(draw(answer, tasks.tasks))


def _document(answer: StatusAnswer, name: str) -> object:
    """What `-o json` prints: one service, one stack, or the list of stacks. Freezes, and
    why a newer commit does not run, are told in the reason of each service."""
    stacks = [_plain(stack) for stack in answer.stacks]
    if answer.service and stacks:
        return next(s for s in stacks[0]["services"] if s.service == answer.service)
    return stacks[0] if name and stacks else stacks


def _plain(stack: StackStatus) -> dict[str, Any]:
    services = []
    for service in stack.services:
        more = [text for text in (*stack.frozen, stack.problem) if text not in service.reason]
        reason = "; ".join(filter(None, (service.reason, *more)))
        services.append(msgspec.structs.replace(service, reason=reason))
    own = [key for key in stack.__struct_fields__ if key not in ("frozen", "problem")]
    return {key: getattr(stack, key) for key in own} | {"services": services}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The rollout that is on the screen: what a key is about, and no later pause or rollout."""

    step: int | None = None
    """How many of its steps are done; None where it has none."""
    revision: str = ""


class _Screen:
    """What is on the terminal, redrawn at each change and after each key."""

    def __init__(self, live: Live, connection: ControlClient, name: str, keyed: bool) -> None:
        self._live = live
        self._connection = connection
        self._request = NameRequest(name=name)
        self._foot = [_KEYS] if keyed else []
        self._shown: tuple[StatusAnswer, TaskRows] | None = None

    async def watch(self) -> NoReturn:
        """Redraw at each change, at most five times a second."""
        answers = self._connection.stream("Watch", self._request, StatusAnswer)
        async for answer in answers:
            self._shown = (answer, await self._connection.call("Ps", self._request, TaskRows))
            self._draw()
            await asyncio.sleep(0.2)
        raise Unreachable("The manager has ended the status.")

    def _draw(self) -> None:
        if self._shown is not None:
            answer, tasks = self._shown
            self._live.update(Fitted(answer, tasks.tasks, self._foot), refresh=True)

    async def obey(self, pressed: AsyncIterator[str]) -> None:
        """Do what keys ask for until one ends it, or for ever when there are none. Each is about
        what was on the screen when it was pressed, however long the one before it takes."""
        todo: asyncio.Queue[tuple[str, _Shown]] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            reads = group.create_task(self._read(pressed, todo))
            while True:
                match await todo.get():
                    case "q", _:
                        reads.cancel()
                        return
                    case "p", shown:
                        await self._ask(shown, "Promote", Text)
                    case "a", shown:
                        await self._ask(shown, "Abort", RolloutAnswer)

    async def _read(
        self, pressed: AsyncIterator[str], todo: "asyncio.Queue[tuple[str, _Shown]]"
    ) -> None:
        async for key in pressed:
            if key == "q" or self._shown is not None:
                todo.put_nowait((key, self._rollout()))

    async def _ask(
        self, shown: _Shown, method: str, answer: type[Text] | type[RolloutAnswer]
    ) -> None:
        """A verb about the rollout that was on the screen; what came of it is shown below."""
        name = self._request.name
        request = RolloutRequest(name=name, step=shown.step, revision=shown.revision)
        try:
            said = (await self._connection.call(method, request, answer)).text
        except StackdError as error:
            said = f"{error.cause} {error.remedy}".strip()
        self._foot = [_KEYS, said]
        self._draw()

    def _rollout(self) -> _Shown:
        """Also one that has ended: a newer one is not what was seen."""
        stacks = self._shown[0].stacks if self._shown is not None else ()
        services = (s for stack in stacks for s in stack.services)
        found = next((s for s in services if self._request.name == f"{s.stack}/{s.service}"), None)
        if found is None or found.rollout is None:
            return _Shown()
        return _Shown(found.step if stepped(found) else None, found.rollout.target)


async def follow(target: Target, name: str) -> None:
    """Redraw until Ctrl-C, or until `q` where a service is watched at a terminal; when the manager
    goes meanwhile, with the next one."""
    while True:
        try:
            return await _watched(target, name)
        except Unreachable:
            await asyncio.sleep(AGAIN)


async def _watched(target: Target, name: str) -> None:
    keyed = "/" in name and os.isatty(STDIN) and sys.stdout.isatty()
    pressed = keys(STDIN) if keyed else _none()
    async with connected(target) as connection:
        with (
            unbuffered(STDIN) if keyed else contextlib.nullcontext(),
            Live(console=pages(), auto_refresh=False, screen=False) as live,
        ):
            screen = _Screen(live, connection, name, keyed)
            with contextlib.suppress(_Ended):
                await together(screen.watch(), _until_left(screen, pressed))


class _Ended(Exception):
    """Whoever watches has seen enough."""


async def _until_left(screen: _Screen, pressed: AsyncIterator[str]) -> NoReturn:
    await screen.obey(pressed)
    raise _Ended


async def _none() -> AsyncIterator[str]:
    """The keys of who has no keyboard."""
    for key in "":
        yield key
