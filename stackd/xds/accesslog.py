"""Envoy's stream of access log entries, read as requests of revisions.

Served beside ADS by `server`. Ports of logged services log all their requests (`proxy` switches
that on and off by a runtime value, so that no listener changes); those of other services on the
same ports are passed over here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.accesslog.v3 import als_pb2

from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Request
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.variants import UserGoal
from stackd.xds.render import clusters
from stackd.xds.render.listeners import GRPC_STATUS

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
_GRPC_FAULTS = frozenset({"2", "4", "12", "13", "14", "15"})
"""unknown, deadline, unimplemented, internal, unavailable, data loss: a server's faults."""
_GONE = ("downstream_connection_termination", "downstream_remote_reset")
_FAULTS = (
    *("no_healthy_upstream", "upstream_request_timeout", "local_reset", "upstream_remote_reset"),
    *("upstream_connection_failure", "upstream_connection_termination", "upstream_overflow"),
    *("upstream_retry_limit_exceeded", "stream_idle_timeout", "duration_timeout"),
    *("upstream_max_stream_duration_reached", "upstream_protocol_error"),
)
_SWITCHED = 101
_SERVER_ERROR = 500
_TURNED = range(300, _SERVER_ERROR)
_NOT_MODIFIED = 304
_FAULTS_FROM = 5

Take = Callable[[Request], None]


class AccessLog:
    """Reads entries; `entries` says which task has which address."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._tasks: dict[tuple[str, str], str] = {}
        self._logged: Mapping[str, TrafficEntry] = {}

    def entries(self, entries: Sequence[TrafficEntry]) -> None:
        """The table as it is now."""
        self._logged = {entry.key: entry for entry in entries if entry.logged}
        self._tasks = {
            (entry.key, clusters.address(entry, endpoint)): endpoint.task
            for entry in self._logged.values()
            for endpoint in entry.endpoints
        }

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """For the server that Envoy connects to."""
        method = grpc.stream_unary_rpc_method_handler(
            self._stream,
            request_deserializer=als_pb2.StreamAccessLogsMessage.FromString,
            response_serializer=als_pb2.StreamAccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": method})

    async def _stream(self, messages: Any, context: Any) -> Any:
        async for message in messages:
            for line in message.http_logs.log_entry:
                request = self.read(line)
                if request is not None:
                    self._take(request)
        return als_pb2.StreamAccessLogsResponse()

    def read(self, line: Any) -> Request | None:
        """None for what says nothing of a logged revision: its client went away, it became a
        socket, or the ingress answered itself."""
        common, response = line.common_properties, line.response
        parts = common.upstream_cluster.split("/")
        key = "/".join(parts[:2])
        entry = self._logged.get(key)
        if entry is None:
            return None
        flags = common.response_flags
        code = response.response_code.value
        if len(parts) < 5 or code == _SWITCHED or any(getattr(flags, name) for name in _GONE):
            return None
        address = common.upstream_remote_address.socket_address.address
        began = common.start_time
        failed = _failed(code, flags, response)
        return Request(
            stack=parts[0],
            service=parts[1],
            revision=RevisionId(parts[4]),
            instance=self._tasks.get((key, address), address),
            began=began.seconds + began.nanos / 1e9,
            seconds=common.duration.seconds + common.duration.nanos / 1e9,
            failed=failed,
            turned=not failed and code in _TURNED and code != _NOT_MODIFIED,
            shadow=len(parts) > 5,
            judged=entry.measured,
            counted=entry.counted,
            goal=entry.goal.words if entry.goal is not None else "",
            reached=_reached(entry.goal, line.request, code, failed=failed),
        )


def _reached(goal: UserGoal | None, request: Any, code: int, *, failed: bool) -> bool:
    """A failed answer is none of success, whatever its status says (gRPC, a reset)."""
    if goal is None or (failed and goal.status < _FAULTS_FROM):
        return False
    method = base_pb2.RequestMethod.Name(request.request_method)
    return goal.reached(method, request.original_path or request.path, code)


def _failed(code: int, flags: Any, response: Any) -> bool:
    if code >= _SERVER_ERROR or not code or any(getattr(flags, name) for name in _FAULTS):
        return True
    status = response.response_trailers.get(GRPC_STATUS) or response.response_headers.get(
        GRPC_STATUS
    )
    return status in _GRPC_FAULTS
