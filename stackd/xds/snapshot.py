"""All resources an Envoy is to have, and the make-before-break order from one set to the next.

Made by `render.table`, delivered by `server` through `session`.
"""

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2

BARRIER = "stackd-barrier"
"""The route configuration that tells which version a worker has."""
BARRIER_PATH = "/version"
SHADOW = "stackd-shadow"
"""The route configuration of mirrored requests, and the cluster that leads to them."""

_TYPES = "type.googleapis.com/envoy.config"


class Kind(enum.Enum):
    """Resource types, in the order in which they are sent."""

    CLUSTER = f"{_TYPES}.cluster.v3.Cluster"
    ENDPOINTS = f"{_TYPES}.endpoint.v3.ClusterLoadAssignment"
    SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    LISTENER = f"{_TYPES}.listener.v3.Listener"
    ROUTES = f"{_TYPES}.route.v3.RouteConfiguration"


@dataclass(frozen=True, slots=True)
class Resource:
    """One packed resource. `version` is a hash of its content; `ready` counts the healthy
    endpoints of a load assignment."""

    name: str
    version: str
    packed: Any = field(compare=False, repr=False)
    ready: int = 0


def resource(name: str, message: Any, ready: int = 0) -> Resource:
    """Pack a protobuf message; the same content always has the same version."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return Resource(name, hashlib.sha256(packed.value).hexdigest()[:20], packed, ready)


Resources = Mapping[str, Resource]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Name -> resource, for each kind. A listener and its route configuration share a name."""

    clusters: Resources = field(default_factory=dict)
    endpoints: Resources = field(default_factory=dict)
    listeners: Resources = field(default_factory=dict)
    routes: Resources = field(default_factory=dict)
    secrets: Resources = field(default_factory=dict)

    def of(self, kind: Kind) -> Resources:
        """The resources of one kind."""
        match kind:
            case Kind.CLUSTER:
                return self.clusters
            case Kind.ENDPOINTS:
                return self.endpoints
            case Kind.SECRET:
                return self.secrets
            case Kind.LISTENER:
                return self.listeners
            case Kind.ROUTES:
                return self.routes


def with_barrier(snapshot: Snapshot, version: str) -> Snapshot:
    """The same, where the private listener answers with `version`."""
    route = {
        "match": {"path": BARRIER_PATH},
        "direct_response": {"status": 200, "body": {"inline_string": version}},
    }
    host = {"name": "barrier", "domains": ["*"], "routes": [route]}
    message = route_pb2.RouteConfiguration(name=BARRIER, virtual_hosts=[host])
    routes = {**snapshot.routes, BARRIER: resource(BARRIER, message)}
    return replace(snapshot, routes=routes)


def phases(old: Snapshot, new: Snapshot) -> list[Snapshot]:
    """The snapshots to be pushed one after the other, each once the one before is acked.

    1. New clusters and endpoints are warm before anything points to them; an assignment that
       loses its last healthy endpoint keeps it for now.
    2. Routes of listeners that are to be opened: when connections of an earlier one still live,
       Envoy has its routes, and would open at once with these.
    3. Listeners and routes, with them the weights.
    4. Endpoints as they shall be.
    5. Clusters that nothing points to go, and the barrier gets its new version: workers apply
       in order, so an answer with it proves all that was before.
    """
    emptied = {
        name: resource(name, route_pb2.RouteConfiguration(name=name))
        for name in old.routes
        if name not in new.routes
    }
    first = Snapshot(
        clusters={**old.clusters, **new.clusters},
        endpoints={**old.endpoints, **_gained(old.endpoints, new.endpoints)},
        secrets={**old.secrets, **new.secrets},
        listeners=old.listeners,
        routes=old.routes,
    )
    marker = {BARRIER: old.routes[BARRIER]} if BARRIER in old.routes else {}
    fresh = new.listeners.keys() - old.listeners.keys()
    opening = {name: found for name, found in new.routes.items() if name in fresh}
    warm = replace(first, routes={**old.routes, **opening})
    second = replace(first, listeners=new.listeners, routes={**emptied, **new.routes, **marker})
    third = replace(second, endpoints={**old.endpoints, **new.endpoints})
    wanted: list[Snapshot] = []
    previous = old
    for phase in (first, warm, second, third, new):
        if phase != previous:
            wanted.append(phase)
            previous = phase
    return wanted


def _gained(old: Resources, new: Resources) -> dict[str, Resource]:
    return {
        name: found
        for name, found in new.items()
        if found.ready or name not in old or not old[name].ready
    }
