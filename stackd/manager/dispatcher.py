"""The manager's side of every agent: sessions in, statuses into the store, assignments out.

A leader task (`run`) and the `Gateway` of `wire.agent_server`. Who calls is known from the
certificate; what a message says of its sender is only compared with that.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

import msgspec

from stackd.aio.loop import forever
from stackd.core.model.assignment import Assignment
from stackd.core.model.decision import Dirty
from stackd.core.model.node import Node, NodeReport
from stackd.core.model.requests import Measured
from stackd.core.orchestrate.assignments import WATCHED
from stackd.errors import Refused, StackdError, Unavailable
from stackd.manager.assigner import Assigner, OpenContent
from stackd.manager.loop import Context
from stackd.manager.notices import Notices
from stackd.manager.permit import node_principal, permit
from stackd.manager.registrations import Registrations
from stackd.manager.statuses import Statuses
from stackd.manager.tunnels import Tunnels
from stackd.store.subscription import Subscription
from stackd.wire.agent_server import Link
from stackd.wire.messages import (
    PROTOCOL,
    AskFull,
    Assigned,
    Beat,
    Certificate,
    Hello,
    Renew,
    Report,
    Requests,
    Welcome,
)
from stackd.wire.messages import Statuses as StatusesMessage
from stackd.wire.pipe import Pipe

_log = logging.getLogger(__name__)
HELLO_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the dispatcher is given. `measured` takes what a node saw of requests. `node_of`: URI of
    a certificate -> node id, raises Refused. `blob_path`: digest -> file, raises Refused. `renew`:
    (node id, CSR) -> new certificate."""

    node_of: Callable[[str], str]
    open_content: OpenContent
    blob_path: Callable[[str], Path]
    renew: Callable[[str, bytes], Awaitable[Certificate]]
    measured: Callable[[str, Measured], None]
    cluster: str = ""
    managers: tuple[str, ...] = ()
    heartbeat: float = 5.0


@dataclass(slots=True)
class _Session:
    """A connected agent."""

    node: str
    instance: str
    link: Link
    subscription: Subscription
    assigner: Assigner
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    told: Refused | None = None
    """Why it was ended, for its agent."""


@dataclass(frozen=True, slots=True)
class _Term:
    """What exists only while this manager leads."""

    context: Context
    registrations: Registrations
    notices: Notices


class Dispatcher:
    """One per manager; serves agents while `run` runs."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._sessions: dict[str, _Session] = {}
        self._replaced: dict[str, set[str]] = {}
        """Node -> instances of agents whose place a newer one has taken."""
        self._statuses = Statuses()
        self._tunnels = Tunnels()
        self._term: _Term | None = None

    async def run(self, context: Context) -> None:
        """Serve agents until cancelled (a leader task)."""
        registrations = Registrations(context, self._around.heartbeat, self._lost)
        notices = Notices(context)
        self._term = _Term(context, registrations, notices)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    forever("statuses", context.clock, lambda: self._statuses.run(context))
                )
                group.create_task(forever("notices", context.clock, notices.run))
                group.create_task(forever("liveness", context.clock, registrations.watch))
                group.create_task(forever("removals", context.clock, self._cut_removed))
        finally:
            self._term = None
            for session in self._sessions.values():
                session.ended.set()

    @property
    def connected(self) -> frozenset[str]:
        """Ids of the nodes that have a session now."""
        return frozenset(self._sessions)

    @contextlib.asynccontextmanager
    async def open_tunnel(self, node: str, kind: str, request: bytes) -> AsyncIterator[Pipe]:
        """A byte stream to `node`: kind `exec` or `logs`, request encoded for it. Raises
        Unavailable when the node is not connected."""
        session = self._sessions.get(node)
        if session is None:
            raise Unavailable(f"Node {node} is not connected.", "See `stackd node ls`.")
        async with self._tunnels.open(node, kind, request, session.link.send) as pipe:
            yield pipe

    async def blob(self, peer: str, digest: str) -> Path:
        """Gateway: where a blob is."""
        self._enter(peer, "Blob")
        return self._around.blob_path(digest)

    async def tunnel(self, peer: str, tunnel: str, pipe: Pipe) -> None:
        """Gateway: join an agent's tunnel to whoever waits for it."""
        await self._tunnels.serve(self._enter(peer, "Tunnel"), tunnel, pipe)

    async def session(self, peer: str, link: Link) -> None:
        """Gateway: serve one session to its end."""
        node, term = self._enter(peer, "Session"), self._leading()
        hello = await self._hello(node, link)
        await self._fence(hello, term)
        if (older := self._sessions.pop(node, None)) is not None:
            older.ended.set()  # nothing it still says may follow what the new one says
        epoch = await term.registrations.register(hello)
        fence = term.context.fence
        leader = fence.revision if fence else 0
        subscription = term.context.tables.subscribe(*WATCHED)
        assigner = Assigner(node, leader, self._around.open_content)
        session = _Session(node, hello.instance, link, subscription, assigner)
        if (rival := self._sessions.get(node)) is not None:
            rival.ended.set()
        self._sessions[node] = session
        _log.info("node %s registered, epoch %d", node, epoch)
        try:
            around = self._around
            await link.send(
                Welcome(epoch, leader, around.heartbeat, around.managers, around.cluster)
            )
            await self._serve(session, term)
        finally:
            term.context.tables.unsubscribe(subscription)
            if self._sessions.get(node) is session:
                del self._sessions[node]

    def _enter(self, peer: str, method: str) -> str:
        node = self._around.node_of(peer)
        permit(node_principal(node), method)
        if self._leading().context.tables.world.get(Node, node) is None:
            raise Refused(
                f"Node {node} is not a member of this cluster.", "Join it with a new token."
            )
        return node

    def _leading(self) -> _Term:
        if self._term is None:
            raise Unavailable("This manager does not lead now.", "Try the other managers.")
        return self._term

    async def _hello(self, node: str, link: Link) -> Hello:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                hello = await link.receive()
        except TimeoutError as error:
            raise Refused("No greeting came.") from error
        if not isinstance(hello, Hello):
            raise Refused("A session begins with a greeting.")
        if hello.protocol != PROTOCOL:
            raise Refused(
                f"This manager speaks protocol {PROTOCOL}, the agent {hello.protocol}.",
                "Use one version of stackd.",
            )
        if hello.node_id != node:
            raise Refused(f"The certificate is of node {node}, the greeting of another.")
        return hello

    async def _fence(self, hello: Hello, term: _Term) -> None:
        """One agent per node: of two with one identity the newer takes the place, and the older
        is told and does not get it back while the newer is heard. The same agent coming back
        takes over from its own old session."""
        node = hello.node_id
        current = self._sessions.get(node)
        if current is None or current.instance == hello.instance:
            return
        # The system closes the connection of a process that ends; give that a moment to arrive.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await current.ended.wait()
        if self._sessions.get(node) is not current or current.ended.is_set():
            return
        told = Refused(
            f"Node {node} is connected by another, newer agent.",
            "Stop one of the two, or join this machine as a node of its own.",
        )
        replaced = self._replaced.setdefault(node, set())
        heard = term.registrations.silent(node) <= 2 * self._around.heartbeat
        if hello.instance in replaced and heard:
            raise told
        _log.warning("node %s: a newer agent takes the place of the one connected", node)
        replaced.discard(hello.instance)
        replaced.add(current.instance)
        current.told = told

    async def _serve(self, session: _Session, term: _Term) -> None:
        """Read, feed, and end when any of the two does or somebody ends the session."""
        world = term.context.tables.world

        async def send(message: Assignment) -> None:
            await session.link.send(Assigned(message))

        works = (
            self._read(session, term),
            session.assigner.run(world, session.subscription, send),
            session.ended.wait(),
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in works]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except* StackdError as failures:
            first = failures.exceptions[0]
            assert isinstance(first, StackdError)
            raise first from None
        finally:
            session.ended.set()
        if session.told is not None:
            raise session.told

    async def _read(self, session: _Session, term: _Term) -> None:
        while (message := await session.link.receive()) is not None:
            if session.ended.is_set():
                return
            term.registrations.heard(session.node)
            match message:
                case StatusesMessage(statuses=statuses):
                    for status in statuses:
                        self._statuses.put(session.node, status)
                case Report(report=report):
                    self._remember(session.node, report, term)
                case Requests(measured=measured):
                    self._around.measured(session.node, measured)
                case AskFull():
                    session.assigner.restart()
                    session.subscription.again(Dirty(everything=True))
                case Renew(csr=csr):
                    await session.link.send(await self._around.renew(session.node, csr))
                case Beat():
                    pass
                case Hello():
                    raise Refused("A session has one greeting.")
                case never:
                    assert_never(never)

    def _remember(self, node: str, report: NodeReport, term: _Term) -> None:
        term.notices.put(node, report.notices)
        own = msgspec.structs.replace(report, id=node, notices=())
        term.context.tables.remember(own)

    def _lost(self, node: str) -> None:
        if (session := self._sessions.get(node)) is not None:
            session.ended.set()

    async def _cut_removed(self) -> None:
        """End the session of a node that is no longer a member."""
        tables = self._leading().context.tables
        subscription = tables.subscribe(Node)
        try:
            while True:
                await subscription.next()
                for node, session in self._sessions.items():
                    if tables.world.get(Node, node) is None:
                        session.ended.set()
                for report in list(tables.world.all(NodeReport)):
                    if tables.world.get(Node, report.id) is None:
                        tables.forget(NodeReport, report.id)
        finally:
            tables.unsubscribe(subscription)
