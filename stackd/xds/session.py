"""One Envoy's delta ADS stream: what it subscribed to, what it was sent, what it acked.

Pure of sockets: requests go in, responses collect in `outbox`. Driven by `server`.
"""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from stackd.xds.snapshot import BARRIER, SHADOW, Kind, Resource, Snapshot

_KINDS = {kind.value: kind for kind in Kind}


@dataclass
class _Subscription:
    """One resource type of one stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    """Name -> version that Envoy has or is being sent."""
    acked: dict[str, str] = field(default_factory=dict)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name -> (version, Envoy's reason)."""
    pending: dict[str, dict[str, str]] = field(default_factory=dict)
    """Nonce -> name -> version."""
    started: bool = False

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def forget(self, name: str) -> None:
        """Envoy needs it again, whatever it has."""
        self.sent.pop(name, None)
        self.acked.pop(name, None)


class Session:
    """The state of one stream. `admin` and `barrier` are the sockets of this Envoy."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.outbox: asyncio.Queue[Any] = asyncio.Queue()
        self.admin = ""
        self.barrier = ""
        self.runtime: dict[str, int] = {}
        """Runtime values that it was told to have."""
        self._snapshot = snapshot
        self._types = {kind: _Subscription() for kind in Kind}
        self._nonces = itertools.count(1)

    def receive(self, request: Any) -> None:
        """Take in one request: a subscription, an ack or a refusal; may answer."""
        kind = _KINDS.get(request.type_url)
        if request.HasField("node"):
            self._introduce(request.node)
        if kind is None:
            return
        state = self._types[kind]
        if not state.started:
            self._start(state, request)
        if request.response_nonce:
            self._answered(state, request)
        for name in request.resource_names_subscribe:
            if name != "*":
                state.names.add(name)
                if name not in request.initial_resource_versions:
                    state.forget(name)
        for name in request.resource_names_unsubscribe:
            state.names.discard(name)
            state.forget(name)
        self._send(kind)

    def _introduce(self, node: Any) -> None:
        fields = node.metadata.fields
        self.admin = fields["admin"].string_value if "admin" in fields else ""
        self.barrier = fields["barrier"].string_value if "barrier" in fields else ""

    def _start(self, state: _Subscription, request: Any) -> None:
        """A reconnecting Envoy says what it has; what it has beyond the snapshot is removed."""
        state.started = True
        asked = list(request.resource_names_subscribe)
        state.wildcard = not asked or "*" in asked
        state.sent = dict(request.initial_resource_versions)
        state.acked = dict(request.initial_resource_versions)

    def _answered(self, state: _Subscription, request: Any) -> None:
        versions = state.pending.pop(request.response_nonce, {})
        message = request.error_detail.message
        named = {name for name in versions if f"{name}:" in message} if message else set()
        for name, version in versions.items():
            if message and (name in named or not named):
                state.refused[name] = (version, message)
            elif state.sent.get(name) == version:
                state.acked[name] = version
                state.refused.pop(name, None)

    def push(self, snapshot: Snapshot) -> None:
        """Send what differs, in make-before-break order of types."""
        self._snapshot = snapshot
        for kind in Kind:
            self._send(kind)

    def _send(self, kind: Kind) -> None:
        state = self._types[kind]
        if not state.started:
            return
        have = self._snapshot.of(kind)
        changed = [r for n, r in have.items() if state.wants(n) and state.sent.get(n) != r.version]
        removed = [n for n in state.sent if n not in have]
        if kind is Kind.SECRET:
            removed = []  # not here yet, or of a listener that goes and takes it along
        if not changed and not removed:
            return
        self._respond(kind, state, changed, removed)
        if kind is Kind.CLUSTER:
            # A changed cluster warms again but asks for nothing: its endpoints are sent again.
            for found in changed:
                self._types[Kind.ENDPOINTS].forget(found.name)
            self._send(Kind.ENDPOINTS)

    def _respond(
        self, kind: Kind, state: _Subscription, changed: list[Resource], removed: list[str]
    ) -> None:
        nonce = str(next(self._nonces))
        versions = {r.name: r.version for r in changed}
        state.pending[nonce] = versions
        state.sent.update(versions)
        for name in removed:
            state.forget(name)
            state.refused.pop(name, None)
        self.outbox.put_nowait(
            discovery_pb2.DeltaDiscoveryResponse(
                type_url=kind.value,
                nonce=nonce,
                resources=[
                    discovery_pb2.Resource(name=r.name, version=r.version, resource=r.packed)
                    for r in changed
                ],
                removed_resources=removed,
            )
        )

    def refusals(self, kind: Kind) -> Mapping[str, str]:
        """Name -> Envoy's reason, for what it refuses of the present snapshot."""
        have = self._snapshot.of(kind)
        return {
            name: reason
            for name, (version, reason) in self._types[kind].refused.items()
            if name in have and have[name].version == version
        }

    def synced(self) -> bool:
        """Envoy has answered for everything in the snapshot that it must have: nothing is under
        way, and it has asked for the endpoints and routes that its clusters and listeners need."""
        if any(state.pending for state in self._types.values()):
            return False
        refused = self.refusals(Kind.LISTENER)
        routes = [n for n in self._snapshot.listeners if n not in refused]
        if SHADOW in self._types[Kind.ROUTES].names:  # one of an older stackd does not ask for it
            routes.append(SHADOW)
        needed = {
            Kind.CLUSTER: list(self._snapshot.clusters),
            Kind.ENDPOINTS: list(self._snapshot.clusters),
            Kind.SECRET: [n for n in self._snapshot.secrets if n in self._types[Kind.SECRET].names],
            Kind.LISTENER: list(self._snapshot.listeners),
            Kind.ROUTES: [n for n in [*routes, BARRIER] if n in self._snapshot.routes],
        }
        return all(self._has(kind, name) for kind, names in needed.items() for name in names)

    def _has(self, kind: Kind, name: str) -> bool:
        state = self._types[kind]
        found = self._snapshot.of(kind).get(name)
        if found is None or not state.started:
            return False
        return found.version in (state.acked.get(name), state.refused.get(name, ("", ""))[0])
