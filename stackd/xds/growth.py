"""How the proxy's own counters of measured revisions grow: the cross-check of the access log.

Called by `proxy`. The first look at a counter of an Envoy only tells where it begins.
"""

from collections.abc import Collection, Sequence

from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Count
from stackd.core.model.stack import AppProtocol
from stackd.core.model.traffic import TrafficEntry
from stackd.xds import admin
from stackd.xds.render import clusters


class Growth:
    """Remembers what was read last."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], admin.Answered] = {}

    async def counts(
        self, entries: Sequence[TrafficEntry], sockets: Collection[str]
    ) -> list[Count]:
        """Since the call before, over all Envoys. Raises Unavailable."""
        owners = {name: who for e in entries if e.measured for name, who in _owners(e).items()}
        sums: dict[tuple[str, str, RevisionId], list[int]] = {}
        read: dict[tuple[str, str], admin.Answered] = {}
        for socket in sockets if owners else ():
            for name, now in (await admin.answered(socket, owners)).items():
                read[socket, name] = now
                before = self._last.get((socket, name), now)
                if now.completed < before.completed:  # another Envoy has its place
                    before = admin.Answered()
                grown = sums.setdefault(owners[name], [0, 0])
                grown[0] += now.requests - before.requests
                grown[1] += now.errors - before.errors
        self._last = read
        return [
            Count(stack=stack, service=service, revision=revision, requests=asked, errors=failed)
            for (stack, service, revision), (asked, failed) in sums.items()
            if asked or failed
        ]


def _owners(entry: TrafficEntry) -> dict[str, tuple[str, str, RevisionId]]:
    """Cluster -> whose it is."""
    found = {}
    for port in entry.ports:
        if port.protocol is AppProtocol.TCP:
            continue
        for revision in {e.revision for e in entry.endpoints}:
            who = (entry.stack, entry.service, revision)
            found[clusters.http_name(entry, port, revision)] = who
            found[clusters.shadow_name(entry, port, revision)] = who
    return found
