"""Keeps this node connected: one session after another, with a growing, jittered pause between.

Nothing on the node stops while there is none. Started by `agent.main`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import assert_never

from stackd.agent.reporter import Reporter
from stackd.agent.worker import Worker
from stackd.aio.backoff import Backoff
from stackd.aio.clock import Clock
from stackd.aio.tasks import attempt
from stackd.errors import Refused, StackdError, Unavailable
from stackd.wire.agent_client import AgentLink, ManagerConnection
from stackd.wire.messages import (
    PROTOCOL,
    AskFull,
    Assigned,
    Beat,
    Certificate,
    Hello,
    ManagerMessage,
    OpenTunnel,
    Renew,
    Welcome,
)

_log = logging.getLogger(__name__)
GATHER_SECONDS = 0.01
WELCOME_SECONDS = 10.0
BEATS = 10
"""Beats in a heartbeat's time: one that is late or lost brings the node no nearer to being down."""
AGAIN_SECONDS = 1.0
"""Between two attempts, at most: a gap in the network should cost no more than itself."""
REFUSED_SECONDS = 8.0
"""The same after being refused, which another attempt hardly changes."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a session needs of its surroundings. `jitter(x)` is a random time in 0..x seconds;
    `renewal()` returns when a new certificate is due, with its CSR;
    `told()` where managers are said to be by now, besides those that are known."""

    connect: Callable[[str], ManagerConnection]
    tunnel: Callable[[ManagerConnection, OpenTunnel], Awaitable[None]]
    jitter: Callable[[float], float]
    renewal: Callable[[], Awaitable[bytes]]
    certificate: Callable[[Certificate], None]
    connected: Callable[[ManagerConnection | None], None]
    told: Callable[[], tuple[str, ...]] = tuple


class Sessions:
    """Runs until cancelled. `managers`: where to try, HOST:PORT; a welcome replaces them."""

    def __init__(
        self, hello: Hello, managers: tuple[str, ...], worker: Worker, reporter: Reporter
    ) -> None:
        self._hello = hello
        self._managers = managers
        self._worker = worker
        self._reporter = reporter

    async def run(self, hooks: Hooks, clock: Clock) -> None:
        """Session after session."""
        backoff = Backoff(first=0.1, most=AGAIN_SECONDS)
        refusals = Backoff(first=0.1, most=REFUSED_SECONDS)
        turn = 0
        while True:
            known = tuple(dict.fromkeys((*self._managers, *hooks.told())))
            address = known[turn % len(known)]
            turn += 1
            refused = False
            try:
                await attempt(self._connect(address, hooks, backoff))
            except* StackdError as group:
                error = group.exceptions[0]
                refused = isinstance(error, Refused)
                _log.warning("no session with %s: %s", address, error)
            if not refused:
                refusals.reset()
            pause = refusals.next() if refused else backoff.next()
            await clock.sleep(pause / 2 + hooks.jitter(pause / 2))

    async def _connect(self, address: str, hooks: Hooks, backoff: Backoff) -> None:
        connection = hooks.connect(address)
        try:
            async with connection.session() as link:
                await self._serve(link, connection, hooks, backoff)
        finally:
            hooks.connected(None)
            await connection.close()

    async def _serve(
        self, link: AgentLink, connection: ManagerConnection, hooks: Hooks, backoff: Backoff
    ) -> None:
        await link.send(replace(self._hello, applied=self._reporter.applied))
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                welcome = await link.receive()
        except TimeoutError as error:
            raise Unavailable("The manager did not answer the greeting in time.") from error
        if not isinstance(welcome, Welcome) or welcome.protocol != PROTOCOL:
            raise Refused("The manager speaks another protocol.", "Use one version of stackd.")
        self._hello = replace(self._hello, epoch=welcome.epoch)
        self._managers = welcome.managers or self._managers
        _log.info("session begun, registration %d", welcome.epoch)
        backoff.reset()
        hooks.connected(connection)
        self._reporter.resend()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send(link, welcome.heartbeat))
            group.create_task(self._renew(link, hooks))
            while True:
                await self._receive(await link.receive(), link, connection, (group, hooks))

    async def _receive(
        self,
        message: ManagerMessage,
        link: AgentLink,
        connection: ManagerConnection,
        context: tuple[asyncio.TaskGroup, Hooks],
    ) -> None:
        group, hooks = context
        match message:
            case Assigned(assignment=assignment):
                taken = self._worker.take(assignment)
                if not taken and assignment.full:
                    raise Refused("The manager's assignment is of a leader that was replaced.")
                if not taken:
                    _log.warning("message %d does not follow", assignment.sequence)
                    await link.send(AskFull())
            case OpenTunnel():
                group.create_task(_quietly(hooks.tunnel(connection, message)))
            case Certificate():
                hooks.certificate(message)
            case Welcome():
                pass
            case never:
                assert_never(never)

    async def _send(self, link: AgentLink, heartbeat: float) -> None:
        """Whatever there is to say, at once, and what comes within a moment after that together; a
        beat when there was nothing for a while."""
        while True:
            try:
                async with asyncio.timeout(heartbeat / BEATS):
                    message = await self._reporter.next()
            except TimeoutError:
                await link.send(Beat())
                continue
            await link.send(message)
            await asyncio.sleep(GATHER_SECONDS)

    async def _renew(self, link: AgentLink, hooks: Hooks) -> None:
        while True:
            await link.send(Renew(await hooks.renewal()))


async def _quietly(work: Awaitable[None]) -> None:
    """A tunnel that fails ends alone."""
    try:
        await work
    except StackdError as error:
        _log.info("tunnel: %s", error.cause)
    except Exception:
        _log.exception("tunnel failed")
