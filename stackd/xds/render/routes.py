"""Which request on an HTTP port goes to which service and revision, and what is tried again.

Services that share a port are told apart by host first, then by the longest path prefix; a
service without hosts takes what no service with that host wants.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.traffic import IngressPort, TrafficEntry
from stackd.core.traffic import effective
from stackd.xds.render import secure, steering
from stackd.xds.render.packing import packed, seconds
from stackd.xds.snapshot import Resource, resource

SAFE = "connect-failure,refused-stream,reset-before-request"
"""Causes after which nothing can have reached the application."""
IDEMPOTENT = f"{SAFE},reset,5xx"
EVERY_HOST = "*"


@dataclass(frozen=True)
class Share:
    """One service's part of an HTTP port: its hosts, its prefix, its routes in order."""

    key: str
    hosts: tuple[str, ...]
    prefix: str
    routes: tuple[Any, ...]


def shares(entry: TrafficEntry, port: IngressPort) -> tuple[Share, ...]:
    """The service's part of a port, and that of its preview when it has a host of its own."""
    route = entry.route or Route()
    prefix = route.path_prefix or "/"
    hosts = tuple(sorted({h.lower() for h in route.hosts})) or (EVERY_HOST,)
    preview = effective.steering(entry).preview
    shown = (preview.host.lower(),) if preview is not None and preview.host else ()
    away = secure.redirect(entry, port)
    if away is not None:
        moved = route_components_pb2.Route(match=_path(prefix), redirect=away)
        return (Share(entry.key, (*hosts, *shown), prefix, (moved,)),)
    found = [Share(entry.key, hosts, prefix, _routes(steering.ways(entry, port), entry))]
    if shown:
        found.insert(0, _preview(entry, port, shown))
    return tuple(found)


def preview_shares(entry: TrafficEntry, port: IngressPort) -> tuple[Share, ...]:
    """What the preview's own port carries, whatever the host."""
    return (_preview(entry, port, (EVERY_HOST,)),)


def _preview(entry: TrafficEntry, port: IngressPort, hosts: tuple[str, ...]) -> Share:
    route = entry.route or Route()
    routes = _routes([steering.preview_way(entry, port)], entry)
    return Share(entry.key, hosts, route.path_prefix or "/", routes)


def configuration(name: str, parts: Iterable[Share]) -> Resource:
    """The route configuration of one port. A request that nobody wants gets 404."""
    ordered = sorted(parts, key=lambda p: (-len(p.prefix), p.key))
    hosts = sorted({host for part in ordered for host in part.hosts})
    virtual = [
        route_components_pb2.VirtualHost(
            name=host, domains=[host], routes=_merged(host, ordered, hosts)
        )
        for host in hosts
    ]
    message = route_pb2.RouteConfiguration(
        name=name, virtual_hosts=virtual, ignore_port_in_host_matching=True
    )
    return resource(name, message)


def clashes(parts: Sequence[Share]) -> dict[str, str]:
    """Service -> the service (by key before it) that has the same host and prefix."""
    owners: dict[tuple[str, str], str] = {}
    found: dict[str, str] = {}
    for part in sorted(parts, key=lambda p: p.key):
        for host in part.hosts:
            owner = owners.setdefault((host, part.prefix), part.key)
            if owner != part.key:
                found[part.key] = owner
    return found


def _merged(host: str, parts: Sequence[Share], hosts: Sequence[str]) -> list[Any]:
    """The routes of exactly this host, then of the wildcards that cover it, then of all hosts."""
    wild = [h for h in hosts if h.startswith("*.") and h != host and host.endswith(h[1:])]
    order = [host, *sorted(wild, key=lambda h: -len(h))]
    order += [EVERY_HOST] if host != EVERY_HOST else []
    return [
        route for level in order for part in parts if level in part.hosts for route in part.routes
    ]


def _routes(ways: Iterable[steering.Way], entry: TrafficEntry) -> tuple[Any, ...]:
    """Each way from the special to the general: streams that no timeout may cut, requests that
    are safe to repeat, the rest."""
    route = entry.route or Route()
    base = _path(route.path_prefix)
    found = []
    for way in ways:
        match: dict[str, Any] = {**base}
        if way.share is not None:
            match["runtime_fraction"] = steering.fraction(way.share)
        for header, timeout, retry_on in _kinds(way, route):
            message = route_components_pb2.Route(
                match={**match, "headers": [*way.headers, *header]},
                response_headers_to_add=way.answer,
                **_timed(way.action, route, timeout, retry_on),
            )
            found.append(message)
    return tuple(found)


def _kinds(way: steering.Way, route: Route) -> list[tuple[list[dict[str, Any]], float, str]]:
    """(headers that tell the kind of request, timeout, what is tried again) in order."""
    found: list[tuple[list[dict[str, Any]], float, str]] = []
    if "route" in way.action and route.timeout:
        found += [([header], 0, SAFE) for header in _streams()]
    if "route" in way.action and route.retry_on == "idempotent":
        methods = steering.header(":method", "GET|HEAD|OPTIONS")
        found.append(([methods], route.timeout, IDEMPOTENT))
    return [*found, ([], route.timeout, SAFE)]


def _streams() -> list[dict[str, Any]]:
    """Requests whose answer is a stream: upgrades, server-sent events, gRPC."""
    return [
        {"name": "upgrade", "present_match": True},
        steering.header("accept", "text/event-stream.*"),
        steering.header("content-type", "application/grpc.*"),
    ]


def _path(prefix: str) -> dict[str, Any]:
    """`/api` covers /api and /api/x, not /apix."""
    if prefix in ("", "/") or prefix.endswith("/") or re.search(r"[?#]", prefix):
        return {"prefix": prefix or "/"}
    return {"path_separated_prefix": prefix}


def _timed(
    action: Mapping[str, Any], route: Route, timeout: float, retry_on: str
) -> dict[str, Any]:
    if "direct_response" in action:
        return dict(action)
    timed = {**action["route"], "timeout": seconds(timeout)}
    if not timeout:
        timed["max_stream_duration"] = {"grpc_timeout_header_max": seconds(0)}
    if route.retry_on != "none" and route.retries > 0:
        timed["retry_policy"] = _retries(route.retries, retry_on)
    return {"route": timed}


def _retries(number: int, retry_on: str) -> dict[str, Any]:
    previous = previous_hosts_pb2.PreviousHostsPredicate()
    return {
        "retry_on": retry_on,
        "num_retries": {"value": number},
        "retry_back_off": {"base_interval": seconds(0.005), "max_interval": seconds(0.05)},
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": packed(previous)}
        ],
        "host_selection_retry_max_attempts": 5,
    }


def speaks_http(port: IngressPort) -> bool:
    """Whether requests, not connections, are routed on this port."""
    return port.protocol is not AppProtocol.TCP
