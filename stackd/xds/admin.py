"""What an Envoy says of itself: requests under way to each host, open connections, its version.

Called by `proxy`, for each connected Envoy over its own sockets.
"""

import asyncio
import re
import urllib.parse
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from stackd.aio import unixhttp
from stackd.errors import Unavailable
from stackd.xds.render import clusters, listeners
from stackd.xds.snapshot import BARRIER_PATH


class _SocketAddress(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class _Address(msgspec.Struct):
    socket_address: _SocketAddress = msgspec.field(default_factory=_SocketAddress)


class _Stat(msgspec.Struct):
    name: str = ""
    value: str | int = 0


class _Host(msgspec.Struct):
    address: _Address = msgspec.field(default_factory=_Address)
    stats: list[_Stat] = msgspec.field(default_factory=list)


class _Cluster(msgspec.Struct):
    name: str = ""
    host_statuses: list[_Host] = msgspec.field(default_factory=list)


class _Clusters(msgspec.Struct):
    cluster_statuses: list[_Cluster] = msgspec.field(default_factory=list)


class _Stats(msgspec.Struct):
    stats: list[_Stat] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Host:
    """A count of one address of one cluster."""

    cluster: str
    address: str
    count: int


async def active(socket: str, keys: Collection[str]) -> list[Host]:
    """Requests and connections to every host of the clusters of these services. Raises
    Unavailable."""
    return await _hosts(socket, keys, "rq_active")


async def opened(socket: str, keys: Collection[str]) -> list[Host]:
    """Connections to every such host since its Envoy knows it. Raises Unavailable."""
    return await _hosts(socket, keys, "cx_total")


async def _hosts(socket: str, keys: Collection[str], stat: str) -> list[Host]:
    names = "|".join(re.escape(clusters.prefix(key)) for key in sorted(keys))
    body = await _get(socket, f"/clusters?format=json&filter={_quoted(f'^({names})')}")
    found = msgspec.json.decode(body, type=_Clusters)
    return [
        Host(cluster.name, host.address.socket_address.address, _value(host.stats, stat))
        for cluster in found.cluster_statuses
        for host in cluster.host_statuses
    ]


async def pending(socket: str, names: Collection[str]) -> int:
    """Requests of these clusters that wait for a connection. Raises Unavailable."""
    either = "|".join(re.escape(name.replace(":", "_")) for name in sorted(names))
    pattern = rf"^cluster\.({either})\.upstream_rq_pending_active$"
    return sum(value for _, value in await _gauges(socket, pattern))


@dataclass(frozen=True, slots=True)
class Answered:
    """Counters of a cluster since its Envoy began: `requests` are over, sockets not counted;
    `errors` with those that were retried."""

    completed: int = 0
    switched: int = 0
    open: int = 0
    errors: int = 0

    @property
    def requests(self) -> int:
        """Those that are logged by now at least: one that still runs has perhaps been counted."""
        return self.completed - self.switched - self.open


_COUNTERS = {
    "upstream_rq_completed": "completed",
    "upstream_rq_1xx": "switched",
    "upstream_rq_active": "open",
    "upstream_rq_5xx": "errors",
    "retry.upstream_rq_5xx": "errors",
}


async def answered(socket: str, names: Collection[str]) -> dict[str, Answered]:
    """Cluster -> what it answered, of those that there are. Raises Unavailable."""
    known = {name.replace(":", "_"): name for name in names}
    either = "|".join(re.escape(name) for name in sorted(known))
    counters = "|".join(re.escape(counter) for counter in _COUNTERS)
    found: dict[str, dict[str, int]] = {}
    for stat, value in await _gauges(socket, rf"^cluster\.({either})\.({counters})$"):
        for counter, what in _COUNTERS.items():
            name = known.get(stat.removeprefix("cluster.").removesuffix(f".{counter}"))
            if name is not None:
                sums = found.setdefault(name, {})
                sums[what] = sums.get(what, 0) + value
    return {name: Answered(**sums) for name, sums in found.items()}


async def downstream(socket: str, ports: Collection[int]) -> dict[int, tuple[int, int]]:
    """Published HTTP port -> (open connections, requests so far). Raises Unavailable."""
    either = "|".join(listeners.stat_prefix(port) for port in sorted(ports))
    stats = dict(await _gauges(socket, rf"^http\.({either})\.downstream_(cx_active|rq_total)$"))
    return {
        port: (
            stats.get(f"http.{listeners.stat_prefix(port)}.downstream_cx_active", 0),
            stats.get(f"http.{listeners.stat_prefix(port)}.downstream_rq_total", 0),
        )
        for port in ports
    }


async def set_runtime(socket: str, values: Mapping[str, int]) -> None:
    """Runtime values of this Envoy, until it ends. Raises Unavailable."""
    query = urllib.parse.urlencode(values)
    reply = await unixhttp.request(socket, f"/runtime_modify?{query}", "POST")
    if reply.status != 200:
        raise Unavailable(f"Envoy's admin interface answered {reply.status} to runtime values.")


async def worker_has(socket: str, version: str, timeout: float) -> None:
    """Return once the worker answers with `version` on its private listener.

    Raises Unavailable after `timeout` seconds, or when nobody listens there.
    """
    pause = 0.0005
    try:
        async with asyncio.timeout(timeout):
            while (await unixhttp.request(socket, BARRIER_PATH)).body.decode() != version:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.02)
    except TimeoutError as error:
        raise Unavailable(f"Envoy's worker has not taken version {version}.") from error


async def _gauges(socket: str, pattern: str) -> list[tuple[str, int]]:
    body = await _get(socket, f"/stats?format=json&filter={_quoted(pattern)}")
    stats: Iterable[_Stat] = msgspec.json.decode(body, type=_Stats).stats
    return [(stat.name, int(stat.value)) for stat in stats if stat.name]


async def _get(socket: str, target: str) -> bytes:
    reply = await unixhttp.request(socket, target)
    if reply.status != 200:
        raise Unavailable(f"Envoy's admin interface answered {reply.status} to {target}.")
    return reply.body


def _value(stats: Iterable[_Stat], name: str) -> int:
    return sum(int(stat.value) for stat in stats if stat.name == name)


def _quoted(pattern: str) -> str:
    return urllib.parse.quote(pattern, safe="")
