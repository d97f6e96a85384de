"""Endpoints as Envoy clusters: one per revision for HTTP, one per target port for TCP.

HTTP weights are in the routes, so that one message moves them; TCP weights are in the endpoints,
because a changed TCP route is a changed listener, which cuts connections in the end.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.traffic import Endpoint, EndpointState, IngressPort, TrafficEntry
from stackd.core.traffic import effective
from stackd.xds.render.packing import packed, seconds
from stackd.xds.snapshot import Resource, resource

CONNECT_TIMEOUT = 1.0
PLENTY = 1_000_000
"""Circuit breakers protect nobody here: a request refused by one would be lost."""
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def prefix(key: str) -> str:
    """What the names of all clusters of a service begin with, and of no other's."""
    return f"{key}/"


def http_name(entry: TrafficEntry, port: IngressPort, revision: str) -> str:
    """The cluster of one revision behind an HTTP port."""
    return f"{prefix(entry.key)}{port.target}/{port.protocol.value}/{revision}"


def shadow_name(entry: TrafficEntry, port: IngressPort, revision: str) -> str:
    """The cluster of what is mirrored to a revision: counted and logged apart from its own."""
    return f"{http_name(entry, port, revision)}/shadow"


def tcp_name(entry: TrafficEntry, port: IngressPort) -> str:
    """The cluster behind a TCP port."""
    return f"{prefix(entry.key)}{port.target}/tcp"


def address(entry: TrafficEntry, endpoint: Endpoint) -> str:
    """Where the ingress reaches a task; '' when it has no address at all."""
    fallback = endpoint.addresses[min(endpoint.addresses)] if endpoint.addresses else ""
    return endpoint.addresses.get(entry.ingress_network, fallback)


def names(entry: TrafficEntry) -> set[str]:
    """The names of a service's clusters."""
    revisions = {e.revision for e in entry.endpoints if address(entry, e)}
    tcp = {tcp_name(entry, p) for p in entry.ports if p.protocol is AppProtocol.TCP}
    http = [p for p in entry.ports if p.protocol is not AppProtocol.TCP]
    found = tcp | {http_name(entry, p, r) for p in http for r in revisions}
    mirrored = effective.steering(entry).mirrored
    return found | ({shadow_name(entry, p, mirrored) for p in http} if mirrored else set())


def clusters(entry: TrafficEntry) -> tuple[dict[str, Resource], dict[str, Resource]]:
    """The clusters of a service and their load assignments, by name."""
    found: dict[str, Resource] = {}
    assigned: dict[str, Resource] = {}
    endpoints = [e for e in entry.endpoints if address(entry, e)]
    mirrored = effective.steering(entry).mirrored
    for port in entry.ports:
        if port.protocol is AppProtocol.TCP:
            name = tcp_name(entry, port)
            found[name] = resource(name, _cluster(name, {}))
            weights = effective.endpoint_weights(entry)
            assigned[name] = _assignment(name, entry, port.target, (endpoints, weights))
            continue
        for revision in sorted({e.revision for e in endpoints}):
            mine = [e for e in endpoints if e.revision == revision]
            equal: dict[str, int] = {e.task: 1 for e in mine if e.state is EndpointState.READY}
            names = [http_name(entry, port, revision)]
            names += [shadow_name(entry, port, revision)] if revision == mirrored else []
            for name in names:
                found[name] = resource(name, _cluster(name, _http_options(entry, port)))
                assigned[name] = _assignment(name, entry, port.target, (mine, equal))
    return found, assigned


def _cluster(name: str, options: Mapping[str, Any]) -> Any:
    """Panic off: draining endpoints never get traffic. Merge window off: a change of health or
    weight alone goes to the workers at once, before the barrier's, and waits for no others."""
    breaker = {
        "max_connections": {"value": PLENTY},
        "max_pending_requests": {"value": PLENTY},
        "max_requests": {"value": PLENTY},
        "max_retries": {"value": PLENTY},
    }
    return cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config={"eds_config": {"resource_api_version": "V3", "ads": {}}},
        connect_timeout=seconds(CONNECT_TIMEOUT),
        lb_policy=cluster_pb2.Cluster.ROUND_ROBIN,
        common_lb_config={
            "healthy_panic_threshold": {"value": 0},
            "update_merge_window": seconds(0),
        },
        circuit_breakers={"thresholds": [breaker]},
        typed_extension_protocol_options=options,
    )


def _http_options(entry: TrafficEntry, port: IngressPort) -> dict[str, Any]:
    """The idle timeout is kept below the upstream's own: a connection that both sides give up at
    one moment loses a request, and no retry helps."""
    route = entry.route or Route()
    two = port.protocol in (AppProtocol.HTTP2, AppProtocol.GRPC)
    idle = seconds(route.upstream_idle_timeout)
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options={"idle_timeout": idle},
        explicit_http_config={"http2_protocol_options" if two else "http_protocol_options": {}},
    )
    return {HTTP_OPTIONS: packed(options)}


def _assignment(
    name: str,
    entry: TrafficEntry,
    port: int,
    members: tuple[Iterable[Endpoint], Mapping[str, int]],
) -> Resource:
    """A ready endpoint without a weight is shown draining: it gets nothing, but is counted."""
    endpoints, weights = members
    listed = [
        {
            "endpoint": {
                "address": {"socket_address": {"address": address(entry, e), "port_value": port}}
            },
            "health_status": health_check_pb2.HEALTHY
            if e.task in weights
            else health_check_pb2.DRAINING,
            "load_balancing_weight": {"value": weights.get(e.task, 1)},
        }
        for e in endpoints
    ]
    message = endpoint_pb2.ClusterLoadAssignment(
        cluster_name=name, endpoints=[{"locality": {}, "lb_endpoints": listed}]
    )
    return resource(name, message, ready=len(weights))
