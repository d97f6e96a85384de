"""How the proxy's own counters of revisions grow: the cross-check of the access log, and what each
revision gets of requests and connections that are shared out.

Called by `proxy`. The first look at a counter of an Envoy only tells where it begins.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Count
from stackd.core.model.stack import AppProtocol
from stackd.core.model.traffic import IngressPort, TrafficEntry
from stackd.xds import admin
from stackd.xds.render import clusters

_Owner = tuple[str, str, RevisionId]
"""Stack, service, revision."""


@dataclass(slots=True)
class _Grown:
    """Sums of one revision."""

    requests: int = 0
    errors: int = 0
    mirrored: int = 0
    connections: int = 0


class Growth:
    """Remembers what was read last."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], admin.Answered] = {}
        self._opened: dict[tuple[str, str, str], int] = {}

    async def counts(
        self, entries: Sequence[TrafficEntry], sockets: Collection[str]
    ) -> list[Count]:
        """Since the call before, over all Envoys. Raises Unavailable."""
        told = [entry for entry in entries if entry.measured or entry.split]
        sums: dict[_Owner, _Grown] = {}
        await self._add_requests(sums, told, sockets)
        await self._add_connections(sums, [e for e in told if e.split], sockets)
        return [
            Count(
                stack=stack,
                service=service,
                revision=revision,
                requests=grown.requests,
                errors=grown.errors,
                mirrored=grown.mirrored,
                connections=grown.connections,
            )
            for (stack, service, revision), grown in sums.items()
            if grown.requests or grown.errors or grown.connections
        ]

    async def _add_requests(
        self,
        sums: dict[_Owner, _Grown],
        entries: Sequence[TrafficEntry],
        sockets: Collection[str],
    ) -> None:
        owners = {name: who for entry in entries for name, who in _owners(entry).items()}
        read: dict[tuple[str, str], admin.Answered] = {}
        for socket in sockets if owners else ():
            for name, now in (await admin.answered(socket, owners)).items():
                read[socket, name] = now
                before = self._last.get((socket, name), now)
                if now.completed < before.completed:  # another Envoy has its place
                    before = admin.Answered()
                owner, mirrored = owners[name]
                grown = sums.setdefault(owner, _Grown())
                requests = now.requests - before.requests
                grown.requests += requests
                grown.errors += now.errors - before.errors
                grown.mirrored += requests if mirrored else 0
        self._last = read

    async def _add_connections(
        self,
        sums: dict[_Owner, _Grown],
        entries: Sequence[TrafficEntry],
        sockets: Collection[str],
    ) -> None:
        """Those to TCP ports: revisions share a cluster there, and are told by their hosts. A host
        that was not there at the last look has begun with nothing."""
        owners = {place: who for entry in entries for place, who in _hosts(entry).items()}
        keys = {entry.key for entry in entries if _tcp(entry)}
        read: dict[tuple[str, str, str], int] = {}
        known = {(socket, cluster) for socket, cluster, _ in self._opened}
        for socket in sockets if keys else ():
            for host in await admin.opened(socket, keys):
                owner = owners.get((host.cluster, host.address))
                if owner is None:
                    continue
                read[socket, host.cluster, host.address] = host.count
                begins = 0 if (socket, host.cluster) in known else host.count
                before = self._opened.get((socket, host.cluster, host.address), begins)
                grown = host.count - before if host.count >= before else host.count
                sums.setdefault(owner, _Grown()).connections += grown
        self._opened = read


def _owners(entry: TrafficEntry) -> Mapping[str, tuple[_Owner, bool]]:
    """Cluster of HTTP requests -> whose it is, and whether it is that of mirrored ones."""
    found = {}
    for port in entry.ports:
        if port.protocol is AppProtocol.TCP:
            continue
        for revision in {e.revision for e in entry.endpoints}:
            who = (entry.stack, entry.service, revision)
            found[clusters.http_name(entry, port, revision)] = who, False
            found[clusters.shadow_name(entry, port, revision)] = who, True
    return found


def _tcp(entry: TrafficEntry) -> list[IngressPort]:
    return [port for port in entry.ports if port.protocol is AppProtocol.TCP]


def _hosts(entry: TrafficEntry) -> Mapping[tuple[str, str], _Owner]:
    """Cluster of a TCP port and address in it -> whose it is."""
    return {
        (clusters.tcp_name(entry, port), clusters.address(entry, endpoint)): (
            entry.stack,
            entry.service,
            endpoint.revision,
        )
        for port in _tcp(entry)
        for endpoint in entry.endpoints
    }
