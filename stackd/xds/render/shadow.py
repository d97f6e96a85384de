"""Where mirrored requests go: the routes of each Envoy's private shadow listener.

A mirrored request passes through that listener, so that it is logged as any other is; its header
names the cluster that gets it, and is rewritten to the revision. Called by `table`.
"""

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2

from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.traffic import TrafficEntry
from stackd.core.traffic import effective
from stackd.xds.render import clusters
from stackd.xds.render.packing import seconds
from stackd.xds.render.steering import SHADOW_HEADER
from stackd.xds.snapshot import SHADOW, Resource, resource


def routes(entry: TrafficEntry) -> tuple[Any, ...]:
    """One for each HTTP port of a service that is mirrored."""
    steering = effective.steering(entry)
    if not steering.mirror:
        return ()
    found = {}
    for port in entry.ports:
        if port.protocol is not AppProtocol.TCP:
            name = clusters.shadow_name(entry, port, steering.mirrored)
            found[name] = _route(entry, name, steering.mirrored)
    return tuple(found[name] for name in sorted(found))


def configuration(parts: Iterable[tuple[Any, ...]]) -> Resource:
    """All of them; there is one also when nothing is mirrored, which Envoy waits for."""
    listed = [route for part in parts for route in part]
    host = route_components_pb2.VirtualHost(name="shadow", domains=["*"], routes=listed)
    message = route_pb2.RouteConfiguration(name=SHADOW, virtual_hosts=[host])
    return resource(SHADOW, message)


def _route(entry: TrafficEntry, name: str, revision: str) -> Any:
    timeout = (entry.route or Route()).timeout
    marked = {"name": SHADOW_HEADER, "string_match": {"exact": name}}
    action: dict[str, Any] = {"cluster": name, "timeout": seconds(timeout)}
    if not timeout:
        action["max_stream_duration"] = {"grpc_timeout_header_max": seconds(0)}
    rewritten = {
        "header": {"key": SHADOW_HEADER, "value": revision},
        "append_action": base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    }
    return route_components_pb2.Route(
        match={"prefix": "/", "headers": [marked]},
        route=action,
        request_headers_to_add=[rewritten],
    )
