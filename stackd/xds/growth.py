"""How the proxy's own counters of revisions grow: the cross-check of the access log, and what each
revision gets of requests that are shared out.

Called by `proxy`. The first look at a counter of an Envoy only tells where it begins.
"""

from collections.abc import Collection, Sequence

from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Count
from stackd.core.model.stack import AppProtocol
from stackd.core.model.traffic import TrafficEntry
from stackd.xds import admin
from stackd.xds.render import clusters

_Owner = tuple[str, str, RevisionId]
"""Stack, service, revision."""


class Growth:
    """Remembers what was read last."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], admin.Answered] = {}

    async def counts(
        self, entries: Sequence[TrafficEntry], sockets: Collection[str]
    ) -> list[Count]:
        """Since the call before, over all Envoys. Raises Unavailable."""
        told = [entry for entry in entries if entry.measured or entry.split]
        owners = {name: who for entry in told for name, who in _owners(entry).items()}
        sums: dict[_Owner, list[int]] = {}
        read: dict[tuple[str, str], admin.Answered] = {}
        for socket in sockets if owners else ():
            for name, now in (await admin.answered(socket, owners)).items():
                read[socket, name] = now
                before = self._last.get((socket, name), now)
                if now.completed < before.completed:  # another Envoy has its place
                    before = admin.Answered()
                owner, mirrored = owners[name]
                grown = sums.setdefault(owner, [0, 0, 0])
                requests = now.requests - before.requests
                grown[0] += requests
                grown[1] += now.errors - before.errors
                grown[2] += requests if mirrored else 0
        self._last = read
        return [
            Count(
                stack=stack,
                service=service,
                revision=revision,
                requests=asked,
                errors=failed,
                mirrored=mirrored,
            )
            for (stack, service, revision), (asked, failed, mirrored) in sums.items()
            if asked or failed
        ]


def _owners(entry: TrafficEntry) -> dict[str, tuple[_Owner, bool]]:
    """Cluster -> whose it is, and whether it is that of mirrored requests."""
    found = {}
    for port in entry.ports:
        if port.protocol is AppProtocol.TCP:
            continue
        for revision in {e.revision for e in entry.endpoints}:
            who = (entry.stack, entry.service, revision)
            found[clusters.http_name(entry, port, revision)] = who, False
            found[clusters.shadow_name(entry, port, revision)] = who, True
    return found
