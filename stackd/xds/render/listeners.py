"""Published ports as Envoy listeners. They change only when a port comes, goes or changes its
protocol: weights and routes never touch them, because a changed listener drains the old one.
"""

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from google.protobuf import struct_pb2

from stackd.xds.render import secure
from stackd.xds.render.packing import packed, seconds
from stackd.xds.render.secure import Chain
from stackd.xds.snapshot import Resource, resource

IDLE = 300.0
"""A silent client's connection is closed after this many seconds."""

HANDSHAKE = 10.0
"""Seconds that a client may take to agree on TLS."""
CLOSING = 10.0
"""Seconds until a connection is cut whose last answer was given. With Envoy's own 1 s an answer
that waits to be written is lost when the machine is busy for that long."""
LOG_SECONDS = 0.5
"""How long entries of the access log wait for others."""
GRPC_STATUS = "grpc-status"

CLAIMS = (
    "(?i)(forwarded|proxy|x[-_](forwarded([-_].*)?|envoy[-_].*|stackd[-_].*"
    "|(real|client|cluster[-_]client)[-_]ip))"
)
"""Names of headers that frameworks take as the word of a proxy in front of them. Programs behind
CGI or WSGI cannot tell `_` in a name from `-`, and see `Proxy` as the variable HTTP_PROXY. Nor may
a client mark a request as mirrored."""


def name(published: int) -> str:
    """The listener of a port, and its route configuration."""
    return f"port-{published}"


def port(listener: str) -> int:
    """The port of a listener's name."""
    return int(listener.removeprefix("port-"))


def stat_prefix(published: int) -> str:
    """What the statistics of a port begin with."""
    return f"port_{published}"


def logs(published: int) -> str:
    """The runtime value that says how many in a hundred requests of a port are logged."""
    return f"stackd.logged.{name(published)}"


def http(published: int, attempt: int, chains: Sequence[Chain] = ()) -> Resource:
    """A port that carries requests; routes come by RDS. With `chains` it speaks TLS."""
    options = manager_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix(published),
        codec_type=manager_pb2.HttpConnectionManager.AUTO,
        rds={
            "route_config_name": name(published),
            "config_source": {"resource_api_version": "V3", "ads": {}},
        },
        http_filters=[
            {
                "name": "envoy.filters.http.router",
                "typed_config": packed(router_pb2.Router(suppress_envoy_headers=True)),
            }
        ],
        access_log=[_log(published)],
        use_remote_address={"value": True},
        early_header_mutation_extensions=[_untrusted()],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        server_header_transformation=manager_pb2.HttpConnectionManager.PASS_THROUGH,
        http_protocol_options={"accept_http_10": True},
        common_http_protocol_options={"idle_timeout": seconds(IDLE)},
        stream_idle_timeout=seconds(0),
        request_headers_timeout=seconds(60),
        delayed_close_timeout=seconds(CLOSING),
    )
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": packed(options),
    }
    if not chains:
        return _listener(published, [{"filters": [manager]}], attempt)
    secured = [
        {
            "filter_chain_match": {"server_names": chain.hosts},
            "filters": [manager],
            "transport_socket": secure.socket(chain),
            "transport_socket_connect_timeout": seconds(HANDSHAKE),
        }
        for chain in chains
    ]
    return _listener(published, secured, attempt)


def tcp(published: int, cluster: str, attempt: int) -> Resource:
    """A port that carries connections to one cluster; they may be silent for ever."""
    options = tcp_proxy_pb2.TcpProxy(
        stat_prefix=stat_prefix(published),
        cluster=cluster,
        idle_timeout=seconds(0),
        max_connect_attempts={"value": 5},
    )
    proxy = {"name": "envoy.filters.network.tcp_proxy", "typed_config": packed(options)}
    return _listener(published, [{"filters": [proxy]}], attempt)


def _listener(published: int, chains: list[dict[str, Any]], attempt: int) -> Resource:
    """`attempt` changes the content: Envoy does not try a refused listener again by itself."""
    marks = struct_pb2.Struct()
    marks.update({"attempt": attempt})
    message = listener_pb2.Listener(
        name=name(published),
        stat_prefix=stat_prefix(published),
        address={"socket_address": {"address": "0.0.0.0", "port_value": published}},
        filter_chains=chains,
        listener_filters=[_inspector()] if any("transport_socket" in c for c in chains) else [],
        metadata=base_pb2.Metadata(filter_metadata={"stackd": marks}) if attempt else None,
    )
    return resource(name(published), message)


def _inspector() -> dict[str, Any]:
    """Reads the name that a client asks for, before its certificate is chosen."""
    options = tls_inspector_pb2.TlsInspector()
    return {"name": "envoy.filters.listener.tls_inspector", "typed_config": packed(options)}


def _log(published: int) -> dict[str, Any]:
    """Always there, because a listener that changes is drained; a runtime value says whether it
    writes. (A filter that asks for the route costs more than the request's own logging.)"""
    options = als_pb2.HttpGrpcAccessLogConfig(
        common_config={
            "log_name": "requests",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "xds"}},
            "buffer_flush_interval": seconds(LOG_SECONDS),
        },
        additional_response_headers_to_log=[GRPC_STATUS],
        additional_response_trailers_to_log=[GRPC_STATUS],
    )
    share = {"numerator": 0, "denominator": "HUNDRED"}
    switch = {"runtime_key": logs(published), "percent_sampled": share}
    return {
        "name": "envoy.access_loggers.http_grpc",
        "filter": {"runtime_filter": {**switch, "use_independent_randomness": True}},
        "typed_config": packed(options),
    }


def _untrusted() -> dict[str, Any]:
    """What a client says of earlier hops or to Envoy is dropped; Envoy then adds the peer."""
    mutation = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": CLAIMS}}}}
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": packed(header_mutation_pb2.HeaderMutation(mutations=[mutation])),
    }
