"""Weights as they really act: what is left when revisions without a ready endpoint are passed over.

Called by `table` (rolling weights), and on every node by `xds` for routes and TCP endpoints and by
`agent.traffic` for what is to be counted.
"""

from collections.abc import Mapping

import msgspec

from stackd.core.model.ids import RevisionId
from stackd.core.model.stack import AppProtocol
from stackd.core.model.traffic import (
    TOTAL,
    Endpoint,
    EndpointState,
    IngressPort,
    Steering,
    TrafficEntry,
)

FINE = 1_000
"""Steps one weight is cut into among the endpoints of its revision."""


def shares(parts: Mapping[str, int], total: int = TOTAL) -> dict[str, int]:
    """Share `total` out in proportion, by largest remainder; {} when all parts are 0.

    Equal remainders go to the lower key, so that every node shares out alike.
    """
    whole = sum(parts.values())
    if whole <= 0:
        return {}
    found = {key: parts[key] * total // whole for key in sorted(parts)}
    order = sorted(found, key=lambda key: (-(parts[key] * total % whole), key))
    for key in order[: total - sum(found.values())]:
        found[key] += 1
    return found


def ready_counts(endpoints: tuple[Endpoint, ...]) -> dict[str, int]:
    """Revision -> number of ready endpoints."""
    counts: dict[str, int] = {}
    for endpoint in endpoints:
        if endpoint.state is EndpointState.READY:
            counts[endpoint.revision] = counts.get(endpoint.revision, 0) + 1
    return counts


def weights(entry: TrafficEntry) -> dict[str, int]:
    """Revision -> weight above 0, sum 10000; {} when nothing ready may get traffic.

    A revision with no ready endpoint passes its share to the others in proportion.
    """
    counts = ready_counts(entry.endpoints)
    wanted = entry.weights or counts
    return shares({r: wanted.get(r, 0) for r in counts if wanted.get(r, 0) > 0})


def steering(entry: TrafficEntry) -> Steering:
    """What of the entry's steering acts: rules of revisions without a ready endpoint do not."""
    wanted, ready = entry.steering, ready_counts(entry.endpoints)
    if wanted.matched not in ready:
        wanted = msgspec.structs.replace(wanted, matches=(), matched=RevisionId(""))
    if wanted.mirrored not in ready or not wanted.mirror:
        wanted = msgspec.structs.replace(wanted, mirror=0, mirrored=RevisionId(""))
    if wanted.previewed not in ready:
        wanted = msgspec.structs.replace(wanted, preview=None, previewed=RevisionId(""))
    return wanted


def preview_port(entry: TrafficEntry) -> IngressPort | None:
    """The port that the preview has of its own now; it leads where the first HTTP port leads."""
    preview = steering(entry).preview
    http = [p for p in entry.ports if p.protocol is not AppProtocol.TCP]
    if preview is None or not preview.published or not http:
        return None
    first = http[0]
    return IngressPort(published=preview.published, target=first.target, protocol=first.protocol)


def ports(entry: TrafficEntry) -> tuple[IngressPort, ...]:
    """All ports that the service has on each node now."""
    preview = preview_port(entry)
    return entry.ports if preview is None else (*entry.ports, preview)


def endpoint_weights(entry: TrafficEntry) -> dict[str, int]:
    """Task id -> weight of each ready endpoint that gets traffic (at least 1; relative)."""
    counts = ready_counts(entry.endpoints)
    by_revision = weights(entry)
    return {
        e.task: max(1, by_revision[e.revision] * FINE // counts[e.revision])
        for e in entry.endpoints
        if e.state is EndpointState.READY and e.revision in by_revision
    }


def leaving(entry: TrafficEntry) -> list[Endpoint]:
    """Endpoints whose traffic is to be counted: draining ones, and all of a service that has
    withdrawn."""
    return [e for e in entry.endpoints if e.state is EndpointState.DRAINING or not entry.listening]
