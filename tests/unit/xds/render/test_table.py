"""Entries as resources."""

from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)

from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.traffic import Endpoint, EndpointState, IngressPort, TrafficEntry
from stackd.xds.render import listeners
from stackd.xds.render.table import Rendered, Renderer
from stackd.xds.snapshot import Resource

HTTP = IngressPort(published=80, target=8080, protocol=AppProtocol.HTTP)
TCP = IngressPort(published=5432, target=5432)


def endpoint(number: int, revision: str = "r1", *, ready: bool = True) -> Endpoint:
    return Endpoint(
        task=TaskId(f"t{number}"),
        revision=RevisionId(revision),
        node=NodeId("n"),
        state=EndpointState.READY if ready else EndpointState.DRAINING,
        addresses={"net": f"10.0.0.{number}"},
    )


def entry(*endpoints: Endpoint, name: str = "web", **fields: object) -> TrafficEntry:
    base = TrafficEntry(
        stack="shop", service=name, endpoints=endpoints, ports=(HTTP,), ingress_network="net"
    )
    return msgspec.structs.replace(base, **fields)


def render(*entries: TrafficEntry) -> Rendered:
    return Renderer().render(entries, (), {})


def unpack(resource: Resource, message: Any) -> Any:
    resource.packed.Unpack(message)
    return message


def routes(rendered: Rendered, port: int = 80) -> Any:
    return unpack(rendered.snapshot.routes[f"port-{port}"], route_pb2.RouteConfiguration())


def test_http_weights_are_in_the_routes_one_cluster_for_each_revision() -> None:
    ends = (endpoint(1, "r1"), endpoint(2, "r2"), endpoint(3, "r3", ready=False))
    found = render(entry(*ends, weights={"r1": 9000, "r2": 1000}))
    names = {f"shop/web/8080/http/{r}" for r in ("r1", "r2", "r3")}
    assert set(found.snapshot.clusters) == set(found.snapshot.endpoints) == names
    (route,) = routes(found).virtual_hosts[0].routes
    shared = {c.name[-2:]: c.weight.value for c in route.route.weighted_clusters.clusters}
    assert shared == {"r1": 9000, "r2": 1000}


def test_panic_is_off_and_draining_is_shown() -> None:
    found = render(entry(endpoint(1), endpoint(2, ready=False)))
    name = "shop/web/8080/http/r1"
    cluster = unpack(found.snapshot.clusters[name], cluster_pb2.Cluster())
    assert cluster.common_lb_config.HasField("healthy_panic_threshold")
    assert cluster.common_lb_config.healthy_panic_threshold.value == 0
    assigned = unpack(found.snapshot.endpoints[name], endpoint_pb2.ClusterLoadAssignment())
    assert [e.health_status for e in assigned.endpoints[0].lb_endpoints] == [1, 3]
    assert found.snapshot.endpoints[name].ready == 1


def test_tcp_weights_are_in_the_endpoints_and_change_no_listener() -> None:
    ends = (endpoint(1, "r1"), endpoint(2, "r2"))
    before = render(entry(*ends, ports=(TCP,), weights={"r1": 5000, "r2": 5000}))
    after = render(entry(*ends, ports=(TCP,), weights={"r1": 10000, "r2": 0}))
    assert before.snapshot.listeners == after.snapshot.listeners
    assert before.snapshot.clusters == after.snapshot.clusters
    name = "shop/web/5432/tcp"
    assigned = unpack(after.snapshot.endpoints[name], endpoint_pb2.ClusterLoadAssignment())
    states = {
        e.endpoint.address.socket_address.address: e.health_status
        for e in assigned.endpoints[0].lb_endpoints
    }
    assert states == {"10.0.0.1": 1, "10.0.0.2": 3}


def test_a_port_with_nothing_to_send_to_answers_for_itself() -> None:
    (route,) = routes(render(entry(endpoint(1), weights={"r2": 10000}))).virtual_hosts[0].routes
    assert route.direct_response.status == 503


def test_a_withdrawn_service_has_no_listener_but_routes_while_endpoints_are_ready() -> None:
    withdrawn = render(entry(endpoint(1), listening=False))
    assert withdrawn.snapshot.listeners == {}
    assert set(withdrawn.snapshot.routes) == {"port-80", "stackd-shadow"}
    gone = render(entry(endpoint(1, ready=False), listening=False))
    assert set(gone.snapshot.routes) == {"stackd-shadow"}
    assert set(gone.snapshot.clusters) == {"shop/web/8080/http/r1"}


def test_on_a_shared_port_withdrawn_routes_go_at_once() -> None:
    api = entry(endpoint(2), name="api", route=Route(path_prefix="/api"))
    found = render(entry(endpoint(1), listening=False), api)
    assert set(found.snapshot.listeners) == {"port-80"}
    clusters = [r.route.cluster for h in routes(found).virtual_hosts for r in h.routes]
    assert clusters == ["shop/api/8080/http/r1"]


def test_host_before_wildcard_before_every_host_longest_prefix_first() -> None:
    table = [
        entry(endpoint(1), name="all"),
        entry(endpoint(2), name="deep", route=Route(path_prefix="/a/b")),
        entry(endpoint(3), name="wild", route=Route(hosts=("*.example",))),
        entry(endpoint(4), name="host", route=Route(hosts=("Shop.example",), path_prefix="/a")),
    ]
    hosts = {h.name: h for h in routes(render(*table)).virtual_hosts}
    assert set(hosts) == {"*", "*.example", "shop.example"}
    order = [r.route.cluster.split("/")[1] for r in hosts["shop.example"].routes]
    assert order == ["host", "wild", "deep", "all"]
    assert [r.route.cluster.split("/")[1] for r in hosts["*"].routes] == ["deep", "all"]


def test_a_timeout_cuts_no_stream() -> None:
    plain = routes(render(entry(endpoint(1), route=Route(timeout=15))))
    found = plain.virtual_hosts[0].routes
    assert [(len(r.match.headers), r.route.timeout.seconds) for r in found] == [
        (1, 0),
        (1, 0),
        (1, 0),
        (0, 15),
    ]


def test_an_answer_that_waits_to_be_written_has_longer_than_a_busy_machine_stalls() -> None:
    shown = render(entry(endpoint(1))).snapshot.listeners[listeners.name(80)]
    [chain] = unpack(shown, listener_pb2.Listener()).filter_chains
    manager = manager_pb2.HttpConnectionManager()
    assert chain.filters[0].typed_config.Unpack(manager)
    assert manager.delayed_close_timeout.ToSeconds() == listeners.CLOSING > 1


def test_only_idempotent_requests_are_repeated_after_they_were_sent() -> None:
    found = routes(render(entry(endpoint(1), route=Route(retry_on="idempotent"))))
    first, rest = found.virtual_hosts[0].routes
    assert first.match.headers[0].string_match.safe_regex.regex == "GET|HEAD|OPTIONS"
    assert "5xx" in first.route.retry_policy.retry_on
    assert rest.route.retry_policy.retry_on == "connect-failure,refused-stream,reset-before-request"
    (none,) = (
        routes(render(entry(endpoint(1), route=Route(retry_on="none")))).virtual_hosts[0].routes
    )
    assert not none.route.HasField("retry_policy")


def test_two_services_that_cannot_share_a_port_are_named() -> None:
    other = entry(endpoint(2), name="zdb", ports=(IngressPort(published=80, target=1),))
    assert "Port 80 belongs to shop/web" in render(entry(endpoint(1)), other).problems["shop/zdb"]
    twin = entry(endpoint(2), name="zweb")
    assert "same host and path" in render(entry(endpoint(1)), twin).problems["shop/zweb"]


def test_a_new_attempt_changes_a_listener_and_a_closed_port_has_none() -> None:
    table = [entry(endpoint(1))]
    renderer = Renderer()
    first = renderer.render(table, (), {}).snapshot.listeners["port-80"]
    again = renderer.render(table, (), {80: 1}).snapshot.listeners["port-80"]
    assert first.version != again.version
    assert unpack(first, listener_pb2.Listener()).address.socket_address.port_value == 80
    assert renderer.render(table, {80}, {}).snapshot.listeners == {}


def test_what_stays_the_same_is_not_made_again() -> None:
    renderer = Renderer()
    before = renderer.render([entry(endpoint(1))], (), {}).snapshot
    after = renderer.render([entry(endpoint(1)), entry(endpoint(2), name="x")], (), {}).snapshot
    name = "shop/web/8080/http/r1"
    assert before.clusters[name] is after.clusters[name]
    assert before.endpoints[name] is after.endpoints[name]
