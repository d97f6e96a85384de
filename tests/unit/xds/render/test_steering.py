"""Requests that go where the weights do not say."""

from typing import Any

import msgspec
from envoy.config.route.v3 import route_pb2

from stackd.core.model.ids import RevisionId
from stackd.core.model.stack import Route
from stackd.core.model.strategy import Matcher, Preview
from stackd.core.model.traffic import Steering, TrafficEntry
from stackd.xds.render.table import Renderer
from tests.unit.xds.render.test_table import endpoint, entry, render, routes, unpack

R1, R2 = RevisionId("r1"), RevisionId("r2")
BOTH = (endpoint(1, "r1"), endpoint(2, "r2"))
NAME = "shop/web/8080/http"


def steered(steering: Steering, **fields: object) -> TrafficEntry:
    base = entry(*BOTH, steering=steering, weights={"r1": 10000, "r2": 0})
    return msgspec.structs.replace(base, **fields)


def only_host(table: TrafficEntry) -> Any:
    (host,) = routes(render(table)).virtual_hosts
    return host.routes


def test_matched_requests_go_first_in_every_kind() -> None:
    matches = (Matcher(header="x-group", exact="b"), Matcher(cookie="group", exact="b.c"))
    table = steered(
        Steering(matches=matches, matched=R2), route=Route(timeout=5, retry_on="idempotent")
    )
    found = only_host(table)
    assert [r.route.cluster[-2:] for r in found] == ["r2"] * 10 + ["r1"] * 5
    assert [len(r.match.headers) for r in found[:5]] == [2, 2, 2, 2, 1]
    assert found[4].match.headers[0].string_match.exact == "b"
    regex = found[9].match.headers[0].string_match.safe_regex.regex
    assert regex == r"(?:.*; ?)?group=b\.c(?:;.*)?"


def test_rules_of_a_revision_without_a_ready_endpoint_are_passed_over() -> None:
    steering = Steering(
        matches=(Matcher(header="x", exact="y"),),
        matched=R2,
        mirror=5000,
        mirrored=R2,
        preview=Preview(published=8081),
        previewed=R2,
    )
    gone = (endpoint(1, "r1"), endpoint(2, "r2", ready=False))
    with_it = render(entry(*gone, steering=steering, weights={"r1": 10000}))
    without = render(entry(*gone, weights={"r1": 10000}))
    assert with_it.snapshot == without.snapshot


def test_mirrored_requests_have_a_cluster_of_their_own_and_are_marked() -> None:
    found = render(steered(Steering(mirror=2500, mirrored=R2)))
    assert set(found.snapshot.clusters) == {f"{NAME}/r1", f"{NAME}/r2", f"{NAME}/r2/shadow"}
    assert set(found.snapshot.endpoints) == set(found.snapshot.clusters)
    (route,) = routes(found).virtual_hosts[0].routes
    (policy,) = route.route.request_mirror_policies
    assert policy.runtime_fraction.default_value.numerator == 2500
    assert policy.disable_shadow_host_suffix_append
    shadow = unpack(found.snapshot.routes["stackd-shadow"], route_pb2.RouteConfiguration())
    (back,) = shadow.virtual_hosts[0].routes
    assert back.match.headers[0].string_match.exact == f"{NAME}/r2/shadow" == back.route.cluster
    assert back.request_headers_to_add[0].header.value == "r2"


def test_a_revisions_own_share_is_not_mirrored_to_it() -> None:
    steering = Steering(mirror=10000, mirrored=R2)
    own, rest = only_host(steered(steering, weights={"r1": 9000, "r2": 1000}))
    assert own.match.runtime_fraction.default_value.numerator == 1000
    assert (own.route.cluster[-2:], len(own.route.request_mirror_policies)) == ("r2", 0)
    assert (rest.route.cluster[-2:], len(rest.route.request_mirror_policies)) == ("r1", 1)
    (alone,) = only_host(steered(steering, weights={"r2": 10000}))
    assert not alone.route.request_mirror_policies


def test_sticky_weights_hash_a_cookie_in_a_fixed_order() -> None:
    steering = Steering(sticky=True, order=(R2, R1))
    known, new = only_host(steered(steering, weights={"r1": 8000, "r2": 2000}))
    for route in (known, new):
        listed = route.route.weighted_clusters
        assert listed.use_hash_policy.value
        assert [(c.name[-2:], c.weight.value) for c in listed.clusters] == [
            ("r2", 2000),
            ("r1", 8000),
        ]
        assert [p.cookie.name or p.header.header_name for p in route.route.hash_policy] == [
            "stackd-shop-web",
            "x-request-id",
        ]
    assert r"stackd\-shop\-web=" in known.match.headers[0].string_match.safe_regex.regex
    assert not known.response_headers_to_add
    assert new.response_headers_to_add[0].header.value.startswith("stackd-shop-web=%REQ(")


def test_a_preview_port_is_a_listener_of_its_own() -> None:
    table = steered(Steering(preview=Preview(published=8081), previewed=R2))
    found = render(table)
    assert set(found.snapshot.listeners) == {"port-80", "port-8081"}
    assert Renderer().ports([table]) == {80, 8081}
    (route,) = routes(found, 8081).virtual_hosts[0].routes
    assert route.route.cluster == f"{NAME}/r2"
    before = render(entry(*BOTH, weights={"r1": 10000}))
    assert found.snapshot.listeners["port-80"] == before.snapshot.listeners["port-80"]


def test_a_preview_host_is_a_virtual_host_of_its_own() -> None:
    table = steered(Steering(preview=Preview(host="Green.test"), previewed=R2))
    hosts = {h.name: h for h in routes(render(table)).virtual_hosts}
    assert set(hosts) == {"*", "green.test"}
    assert hosts["green.test"].routes[0].route.cluster == f"{NAME}/r2"
    assert [r.route.cluster for r in hosts["*"].routes] == [f"{NAME}/r1"]
