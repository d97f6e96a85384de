"""Which requests of a service go where: matched ones, then each user's or each request's share.

A `Way` is one kind of request and its destination, in the order in which Envoy tries them.
Called by `routes` for each HTTP port and by `shadow` and `table` for what mirrors and previews
need.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2

from stackd.core.model.strategy import Matcher
from stackd.core.model.traffic import IngressPort, Steering, TrafficEntry
from stackd.core.traffic import effective
from stackd.xds.render import clusters
from stackd.xds.snapshot import SHADOW

SHADOW_HEADER = "x-stackd-shadow"
"""Marks a mirrored request: its value is the revision that gets it."""
_TEN_THOUSAND = "TEN_THOUSAND"
_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@dataclass(frozen=True)
class Way:
    """`headers` must match; `share` of the requests (1/10000) take it; `action` as in a Route:
    `route` or `direct_response`; `answer` is added to the response."""

    action: Mapping[str, Any]
    headers: tuple[Mapping[str, Any], ...] = ()
    share: int | None = None
    answer: tuple[Mapping[str, Any], ...] = ()


def header(name: str, regex: str) -> dict[str, Any]:
    """A header whose whole value matches."""
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}}


def ways(entry: TrafficEntry, port: IngressPort) -> list[Way]:
    """Everything that is asked of a port of the service."""
    steering = effective.steering(entry)
    found = []
    for matcher in steering.matches:
        action = _to(entry, port, {steering.matched: 1}, steering)
        found.append(Way(action, headers=(_matches(matcher),)))
    return [*found, *_shared(entry, port, steering)]


def preview_way(entry: TrafficEntry, port: IngressPort) -> Way:
    """All that is asked of the preview."""
    name = clusters.http_name(entry, port, effective.steering(entry).previewed)
    return Way({"route": {"cluster": name}})


def _shared(entry: TrafficEntry, port: IngressPort, steering: Steering) -> list[Way]:
    """Shared out by weight. A route without any weight would be refused as a whole, so that with
    nothing to send to the ingress answers itself."""
    weights = effective.weights(entry)
    if not weights:
        text = f"no task of {entry.key} is ready\n"
        return [Way({"direct_response": {"status": 503, "body": {"inline_string": text}}})]
    if steering.sticky and len(weights) > 1:
        return _sticky(entry, port, weights, steering)
    own = weights.pop(steering.mirrored, 0) if steering.mirror and len(weights) > 1 else 0
    found = []
    if own:  # its own requests are not mirrored to it: they are told apart before
        found.append(Way(_to(entry, port, {steering.mirrored: 1}, steering), share=own))
    return [*found, Way(_to(entry, port, weights, steering))]


def _sticky(
    entry: TrafficEntry, port: IngressPort, weights: Mapping[str, int], steering: Steering
) -> list[Way]:
    """Without state: the first answer hands out the request's id as a cookie, and the hash of
    that id, then of the cookie, chooses the revision. Growth moves nobody back as long as the
    order of the revisions stays."""
    cookie = f"stackd-{entry.stack}-{entry.service}"
    if steering.mirrored in weights:
        steering = Steering(order=steering.order)
    action = _to(entry, port, weights, steering)["route"]
    action["weighted_clusters"]["use_hash_policy"] = {"value": True}
    action["hash_policy"] = [
        {"cookie": {"name": cookie}, "terminal": True},
        {"header": {"header_name": "x-request-id"}},
    ]
    value = f"{cookie}=%REQ(X-REQUEST-ID)%; Path=/; HttpOnly; SameSite=Lax"
    handed = {
        "header": {"key": "set-cookie", "value": value},
        "append_action": base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
    }
    known = Way({"route": action}, headers=(header("cookie", _cookie(cookie, "[^;]+")),))
    return [known, replace(known, headers=(), answer=(handed,))]


def _to(
    entry: TrafficEntry, port: IngressPort, weights: Mapping[str, int], steering: Steering
) -> dict[str, Any]:
    """To one cluster, or shared out; with the mirror's part of it."""
    order: list[str] = [r for r in steering.order if r in weights]
    order += sorted(r for r in weights if r not in order)
    listed = [(clusters.http_name(entry, port, r), weights[r]) for r in order]
    if len(listed) == 1:
        action: dict[str, Any] = {"cluster": listed[0][0]}
    else:
        parts = [{"name": name, "weight": {"value": weight}} for name, weight in listed]
        action = {"weighted_clusters": {"clusters": parts}}
    if steering.mirror and set(weights) != {steering.mirrored}:
        name = clusters.shadow_name(entry, port, steering.mirrored)
        action["request_mirror_policies"] = [_mirror(name, steering.mirror)]
    return {"route": action}


def _mirror(name: str, share: int) -> Any:
    """To the node's own shadow listener, which finds the cluster by the header."""
    mark = {"append": {"header": {"key": SHADOW_HEADER, "value": name}}}
    mark["append"]["append_action"] = _OVERWRITE
    return route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=SHADOW,
        runtime_fraction=fraction(share),
        disable_shadow_host_suffix_append=True,
        request_headers_mutations=[mark],
    )


def fraction(share: int) -> dict[str, Any]:
    """So many of 10000 requests."""
    return {"default_value": {"numerator": share, "denominator": _TEN_THOUSAND}}


def _matches(matcher: Matcher) -> dict[str, Any]:
    if matcher.header:
        return {"name": matcher.header, "string_match": {"exact": matcher.exact}}
    return header("cookie", _cookie(matcher.cookie, re.escape(matcher.exact)))


def _cookie(name: str, value: str) -> str:
    """A Cookie header that has this cookie, in whatever place."""
    return rf"(?:.*; ?)?{re.escape(name)}={value}(?:;.*)?"
