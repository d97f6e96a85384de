"""An Envoy reduced to its delta ADS stream: subscribes as Envoy does, acks or refuses."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import struct_pb2

from stackd.xds.server import SERVICE
from stackd.xds.snapshot import BARRIER, SHADOW, Kind

Refuse = Callable[[Kind, Any], str]
"""(kind, response) -> why it is refused; '' = acked."""


class FakeEnvoy:
    """Holds what it was given: kind -> name -> version. `log`: (kind, names, removed) in order."""

    def __init__(self, socket: Path, have: Mapping[Kind, Mapping[str, str]] | None = None) -> None:
        self.held: dict[Kind, dict[str, str]] = {k: dict((have or {}).get(k, {})) for k in Kind}
        self.log: list[tuple[Kind, list[str], list[str]]] = []
        self.refuse: Refuse = lambda kind, response: ""
        self.silent = False
        """Takes responses in but answers none."""
        self._socket = socket
        self._subscribed: dict[Kind, set[str]] = {k: set() for k in Kind}

    async def run(self) -> None:
        """One stream, until cancelled or cut."""
        async with grpc.aio.insecure_channel(f"unix:{self._socket}") as channel:
            method: Any = channel.stream_stream(
                f"/{SERVICE}/DeltaAggregatedResources",
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )
            call = method()
            for kind in (k for k in Kind if k is not Kind.SECRET):
                names = sorted(
                    {*self.held[kind], *([BARRIER, SHADOW] if kind is Kind.ROUTES else [])}
                )
                wildcard = kind in (Kind.CLUSTER, Kind.LISTENER)
                await self._ask(call, kind, [] if wildcard else names, first=True)
            async for response in call:
                await self._take(call, response)

    async def _ask(self, call: Any, kind: Kind, names: list[str], *, first: bool = False) -> None:
        self._subscribed[kind].update(names)
        metadata = struct_pb2.Struct()
        metadata.update({"admin": "/none", "barrier": "/none"})
        await call.write(
            discovery_pb2.DeltaDiscoveryRequest(
                node={"id": "fake", "metadata": metadata} if first else None,
                type_url=kind.value,
                resource_names_subscribe=names,
                initial_resource_versions=self.held[kind] if first else {},
            )
        )

    async def _take(self, call: Any, response: Any) -> None:
        kind = Kind(response.type_url)
        names = [r.name for r in response.resources]
        self.log.append((kind, names, list(response.removed_resources)))
        if self.silent:
            return
        reason = self.refuse(kind, response)
        if not reason:
            self.held[kind].update({r.name: r.version for r in response.resources})
            for name in response.removed_resources:
                self.held[kind].pop(name, None)
        await self._follow(call, kind, response)
        answer = discovery_pb2.DeltaDiscoveryRequest(
            type_url=kind.value, response_nonce=response.nonce
        )
        if reason:
            answer.error_detail.message = reason
        await call.write(answer)

    async def _follow(self, call: Any, kind: Kind, response: Any) -> None:
        """New clusters ask for their endpoints, new HTTP listeners for their routes."""
        wanted = {Kind.CLUSTER: Kind.ENDPOINTS, Kind.LISTENER: Kind.ROUTES}.get(kind)
        if wanted is None:
            return
        names = [r.name for r in response.resources if _needs(kind, r.resource)]
        new = [name for name in names if name not in self._subscribed[wanted]]
        if new:
            await self._ask(call, wanted, new)


def _needs(kind: Kind, packed: Any) -> bool:
    message = cluster_pb2.Cluster() if kind is Kind.CLUSTER else listener_pb2.Listener()
    packed.Unpack(message)
    return kind is Kind.CLUSTER or b"http_connection_manager" in packed.value
