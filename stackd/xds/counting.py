"""Counts what still runs on tasks that are leaving: requests, connections, idle clients.

Called by `proxy.in_flight`. A client connection of a withdrawn HTTP port counts as long as it is
open, because its next request must still be answered; one that has been silent for QUIET seconds
does not, so that a forgotten client holds up nobody's removal.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Sequence

from stackd.core.model.traffic import TrafficEntry
from stackd.core.traffic import effective
from stackd.xds import admin
from stackd.xds.render import clusters, routes

QUIET = 3.0


class Counter:
    """Remembers since when each withdrawn port has been silent."""

    def __init__(self) -> None:
        self._silent: dict[tuple[str, int], tuple[int, float]] = {}

    async def count(
        self, entries: Sequence[TrafficEntry], sockets: Collection[str], closed: Collection[int]
    ) -> dict[str, int]:
        """Task id -> count over all Envoys at `sockets`; `closed`: ports without a listener.

        Raises Unavailable.
        """
        watched = [e for e in entries if effective.leaving(e)]
        found: dict[str, int] = {p.task: 0 for e in watched for p in effective.leaving(e)}
        ported = [e for e in watched if e.ports]
        ports = {
            p.published
            for e in ported
            if not e.listening
            for p in e.ports
            if routes.speaks_http(p) and p.published in closed
        }
        for socket in sockets if ported else ():
            await _add_active(found, ported, socket)
            await _add_pending(found, ported, socket)
            clients = await self._clients(socket, ports) if ports else {}
            for entry in ported:
                mine = () if entry.listening else entry.ports
                waiting = sum(clients.get(p.published, 0) for p in mine)
                for endpoint in effective.leaving(entry) if waiting else ():
                    found[endpoint.task] += waiting
        return found

    async def _clients(self, socket: str, ports: Collection[int]) -> dict[int, int]:
        now = time.monotonic()
        found = {}
        for port, (connections, requests) in (await admin.downstream(socket, ports)).items():
            known, since = self._silent.get((socket, port), (-1, now))
            if known != requests or not connections:
                since = now
            self._silent[socket, port] = (requests, since)
            found[port] = connections if now - since < QUIET else 0
        return found


async def _add_active(found: dict[str, int], entries: Sequence[TrafficEntry], socket: str) -> None:
    by_host: dict[tuple[str, str], int] = defaultdict(int)
    for active in await admin.active(socket, [e.key for e in entries]):
        key = "/".join(active.cluster.split("/")[:2])
        by_host[key, active.address] += active.count
    for entry in entries:
        for endpoint in entry.endpoints:
            if endpoint.task in found:
                address = clusters.address(entry, endpoint)
                found[endpoint.task] += by_host.get((entry.key, address), 0)


async def _add_pending(found: dict[str, int], entries: Sequence[TrafficEntry], socket: str) -> None:
    """Requests that wait for a connection are in no host's count; any may be for any host."""
    for entry in entries:
        mine = [endpoint.task for endpoint in effective.leaving(entry)]
        if any(found[task] for task in mine):
            continue
        names = clusters.names(entry)
        if names and (waiting := await admin.pending(socket, names)):
            for task in mine:
                found[task] += waiting
