"""The ingress driver: takes tables, keeps Envoy at them, counts what still runs.

Conforms to `agent.drivers.Proxy`. One for each node, wired in the agent's main.
"""

import asyncio
import itertools
import logging
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from stackd.aio.tasks import Background
from stackd.core.model.driver import ProxyApplied
from stackd.core.model.requests import Count
from stackd.core.model.traffic import TrafficEntry
from stackd.core.traffic import effective
from stackd.errors import Unavailable
from stackd.xds import accesslog, admin, counting
from stackd.xds.growth import Growth
from stackd.xds.render import listeners, secure
from stackd.xds.render.table import Rendered, Renderer
from stackd.xds.server import AdsServer
from stackd.xds.session import Session
from stackd.xds.snapshot import Kind, Snapshot, phases, with_barrier

_log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for each push and for the barrier."""
TEND = 1.0
"""Seconds between two looks after the process."""


class ProxyProcess(Protocol):
    """The Envoy of this node, which lives on when the agent ends (see `host.envoy`)."""

    async def ensure(self) -> None:
        """Start it unless it runs."""
        ...

    def running(self) -> bool:
        """Whether it runs or is being kept running."""
        ...

    async def stop(self) -> None:
        """End it and whoever keeps it running."""
        ...

    async def port_problem(self, port: int) -> str:
        """'' if Envoy can or does listen there, else who holds the port and what to do."""
        ...

    async def quiesce(self, ports: Collection[int]) -> None:
        """No new connection reaches these ports of Envoy, and none waits to be accepted."""
        ...


class EnvoyProxy:
    """Applies tables one after the other; safe to call from several tasks."""

    def __init__(
        self,
        socket: Path,
        process: ProxyProcess,
        take: accesslog.Take,
        contents: secure.Contents,
        timeout: float = TIMEOUT,
    ) -> None:
        """`take` gets each request of measured services; `contents` has the certificates."""
        self._process = process
        self._timeout = timeout
        self._log = accesslog.AccessLog(take)
        self._server = AdsServer(socket, self._log.handler())
        self._growth = Growth()
        self._entries: Sequence[TrafficEntry] = ()
        self._renderer = Renderer(contents)
        self._counter = counting.Counter()
        self._lock = asyncio.Lock()
        self._attempts: dict[int, int] = {}
        self._versions = (f"{uuid.uuid4().hex[:12]}-{n}" for n in itertools.count(1))
        self._open = False
        self._reported: frozenset[str] = frozenset()
        """Listeners of which the last apply said that Envoy refuses them."""
        self._doubt = asyncio.Event()
        self._background = Background()

    @property
    def snapshot(self) -> Snapshot:
        """What Envoy is to have."""
        return self._server.snapshot

    async def apply(self, entries: Sequence[TrafficEntry]) -> ProxyApplied:
        """Make the ingress show exactly these entries; returns after acks and barrier.

        Raises Unavailable when Envoy does not follow; call again then.
        """
        async with self._lock:
            self._log.entries(entries)
            self._entries = entries
            taken = await self._taken(entries)
            rendered = self._renderer.render(entries, taken, self._attempts)
            if not (self._open or rendered.snapshot.listeners or self._process.running()):
                return ProxyApplied(problems={**_by_service(rendered, taken), **rendered.problems})
            version = next(self._versions)
            target = with_barrier(rendered.snapshot, version)
            self._doubt.clear()
            refused = await self._push(target)
            await self._confirm(version)
            await self._switch_logs()
            self._reported = self._refused_listeners()
            return ProxyApplied(
                problems={
                    **_by_service(rendered, {**await self._refused_ports(target), **taken}),
                    **rendered.problems,
                    **_of_resources(rendered, refused),
                }
            )

    async def doubtful(self) -> None:
        """Return when an Envoy does not show what was applied: one that was started again found
        a port taken. `apply` tells which, and tries again."""
        await self._doubt.wait()

    async def in_flight(self, entries: Sequence[TrafficEntry]) -> Mapping[str, int]:
        """Task id -> active requests and connections: of each draining endpoint, and of each
        endpoint of a withdrawn service (there also connections its clients still hold open).

        Raises Unavailable when an Envoy that runs cannot be asked.
        """
        sessions = self._server.sessions
        if not sessions and self._process.running():
            raise Unavailable("Envoy is not connected.")
        closed = {p.published for e in entries for p in e.ports} - self._open_ports()
        sockets = [session.admin for session in sessions]
        return await self._counter.count(entries, sockets, closed)

    async def counts(self) -> Sequence[Count]:
        """What Envoy's own counters of revisions grew by since the last call.

        Raises Unavailable.
        """
        sockets = [session.admin for session in self._server.sessions]
        return await self._growth.counts(self._entries, sockets)

    async def close(self, *, stop: bool) -> None:
        """Stop serving xDS; with `stop` also stop Envoy."""
        await self._background.close()
        if stop:
            await self._process.stop()
        await self._server.close()

    async def _tend(self) -> None:
        """Whoever keeps Envoy running is itself replaced when it is killed."""
        while True:
            await asyncio.sleep(TEND)
            try:
                await self._process.ensure()
            except (Unavailable, OSError) as error:
                _log.warning("Envoy's keeper: %s", error)
            await self._switch_logs()
            if self._refused_listeners() - self._reported:
                self._doubt.set()

    async def _switch_logs(self) -> None:
        """Ports of logged services log their requests, the others do not. What an Envoy could
        not be told now it is told by `_tend`."""
        ports = {p.published: False for e in self._entries for p in effective.ports(e)}
        for entry in self._entries:
            ports.update({p.published: True for p in effective.ports(entry) if entry.logged})
        wanted = {listeners.logs(port): 100 if logged else 0 for port, logged in ports.items()}
        for session in self._server.sessions:
            fresh = {k: v for k, v in wanted.items() if session.runtime.get(k) != v}
            if not fresh:
                continue
            try:
                await admin.set_runtime(session.admin, fresh)
                session.runtime.update(fresh)
            except Unavailable as error:
                _log.warning("requests cannot be logged: %s", error)

    def _refused_listeners(self) -> frozenset[str]:
        return frozenset(n for s in self._server.sessions for n in s.refusals(Kind.LISTENER))

    def _open_ports(self) -> set[int]:
        """Ports whose listeners are published and not refused by any Envoy."""
        refused = self._refused_listeners()
        return {
            listeners.port(name) for name in self._server.snapshot.listeners if name not in refused
        }

    async def _taken(self, entries: Sequence[TrafficEntry]) -> dict[int, str]:
        """Ports that are to be opened now but cannot: port -> why. A port that another program
        shares by SO_REUSEPORT would be acked, so each new one is tried first."""
        found = {}
        for port in sorted(self._renderer.ports(entries) - self._open_ports()):
            if problem := await self._process.port_problem(port):
                found[port] = problem
        return found

    async def _push(self, target: Snapshot) -> dict[str, str]:
        """Deliver in phases; name -> reason of what Envoy refused, listeners apart."""
        steps = phases(self._server.snapshot, target) if self._open else [target]
        refused: dict[str, str] = {}
        for snapshot in steps:
            if not self._open:
                self._server.prime(snapshot)
                await self._server.open()
                self._open = True
                self._background.start(self._tend(), "keep Envoy's keeper")
            await self._process.ensure()
            gone = self._server.snapshot.listeners.keys() - snapshot.listeners.keys()
            if gone:
                await self._process.quiesce([listeners.port(name) for name in gone])
            await self._server.push(snapshot, self._timeout)
            for kind in (Kind.CLUSTER, Kind.ENDPOINTS, Kind.ROUTES):
                for session in self._server.sessions:
                    refused.update(session.refusals(kind))
        return refused

    async def _confirm(self, version: str) -> None:
        """Every Envoy's worker has the version; one that ends meanwhile carries nothing."""
        done: set[Session] = set()
        end = asyncio.get_running_loop().time() + self._timeout
        while waiting := [s for s in self._server.sessions if s not in done]:
            left = end - asyncio.get_running_loop().time()
            try:
                await admin.worker_has(waiting[0].barrier, version, max(left, 0.0))
                done.add(waiting[0])
            except Unavailable:
                if left <= 0:
                    raise
                await asyncio.sleep(0.02)
        if not done:
            raise Unavailable("Envoy ended while it was configured.")

    async def _refused_ports(self, target: Snapshot) -> dict[int, str]:
        """Listeners that Envoy could not open: tried anew, changed, at the next apply."""
        found: dict[int, str] = {}
        for session in self._server.sessions:
            for name, reason in session.refusals(Kind.LISTENER).items():
                port = listeners.port(name)
                if name in target.listeners and port not in found:
                    self._attempts[port] = self._attempts.get(port, 0) + 1
                    problem = await self._process.port_problem(port)
                    found[port] = problem or f"Envoy cannot open port {port}: {reason}"
        return found


def _by_service(rendered: Rendered, ports: Mapping[int, str]) -> dict[str, str]:
    return {key: text for port, text in ports.items() for key in rendered.users.get(port, ())}


def _of_resources(rendered: Rendered, refused: Mapping[str, str]) -> dict[str, str]:
    """Service -> why Envoy refused a cluster of it or the routes of one of its ports."""
    found: dict[str, str] = {}
    for name, reason in refused.items():
        for key in _owners(rendered, name):
            found[key] = f"Envoy refuses the configuration of {key}: {reason}"
    return found


def _owners(rendered: Rendered, name: str) -> Iterable[str]:
    for port, keys in rendered.users.items():
        if name == listeners.name(port):
            return keys
    return ["/".join(name.split("/")[:2])]
