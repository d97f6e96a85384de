"""The traffic table: one entry per service, each with the store revision it was written at.

The version of the table is the store revision of its newest change. A node that has applied
version R has applied every entry written, and every removal made, at or before R.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.ids import RevisionId, TaskId, service_key
from stackd.core.model.record import Record, Value
from stackd.core.model.stack import AppProtocol, Route
from stackd.core.model.strategy import Matcher, Preview
from stackd.core.model.toggle import Toggle
from stackd.core.model.variants import UserGoal

TOTAL = 10_000
"""All of the traffic, as a weight."""


class EndpointState(enum.StrEnum):
    """ready: gets new requests; draining: gets none, but is still counted."""

    READY = "ready"
    DRAINING = "draining"


class Endpoint(Value, frozen=True, kw_only=True, order=True):
    """A task that takes or still finishes traffic."""

    task: TaskId
    revision: RevisionId
    node: str
    state: EndpointState
    addresses: Mapping[str, str]
    """Network id -> address."""


class IngressPort(Value, frozen=True, kw_only=True, order=True):
    """One published port of the service, on every node."""

    published: int
    target: int
    protocol: AppProtocol = AppProtocol.TCP


class Steering(Value, frozen=True, kw_only=True):
    """Which requests go where whatever the weights; HTTP ports only. A revision without a ready
    endpoint is passed over: its rules are as if they were not there."""

    matches: tuple[Matcher, ...] = ()
    """Requests that match any of these go to `matched`."""
    matched: RevisionId = RevisionId("")
    mirror: int = 0
    """0..10000: share of the other revisions' requests that are sent to `mirrored` as well, marked
    by the header x-stackd-shadow; the answers are thrown away."""
    mirrored: RevisionId = RevisionId("")
    preview: Preview | None = None
    """Requests to this port or host go to `previewed`."""
    previewed: RevisionId = RevisionId("")
    sticky: bool = False
    """The weights share out users, not requests: each keeps its revision, by a cookie."""
    order: tuple[RevisionId, ...] = ()
    """Sticky: the order in which revisions take their parts, so that growth moves nobody back."""


class TrafficEntry(Record, frozen=True, kw_only=True):
    """Everything a node needs to carry one service's traffic.

    `weights` are as wanted; a revision with no ready endpoint has effective weight 0, which each
    node works out itself (and its share goes to the others in proportion).
    """

    TABLE: ClassVar[str] = "traffic"
    stack: str
    service: str
    vips: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Network id -> virtual address."""
    aliases: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Network id -> extra DNS names."""
    endpoints: tuple[Endpoint, ...] = ()
    weights: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Revision -> 0..10000, sum 10000."""
    steering: Steering = Steering()
    tls: str = ""
    """Key of the current version of the secret with the certificate (`secret/NAME/VERSION`)."""
    measured: bool = False
    """Its requests are told to the manager one by one, for an analysis."""
    counted: bool = False
    """Its requests are counted for each revision, for an A/B rollout."""
    goal: UserGoal | None = None
    """Which of the counted requests reach it."""
    ports: tuple[IngressPort, ...] = ()
    route: Route | None = None
    listening: bool = True
    """False while the service has withdrawn: its listeners refuse, its routes are gone."""
    ingress_network: str = ""
    """Network id whose endpoint addresses the ingress uses."""
    features: Mapping[str, Toggle] = msgspec.field(default_factory=dict)
    """Toggles as they act now, what is set by hand included."""
    drain_timeout: float = 30.0

    @property
    def key(self) -> str:
        return service_key(self.stack, self.service)

    @property
    def split(self) -> bool:
        """Whether several revisions have a part of the requests."""
        return sum(weight > 0 for weight in self.weights.values()) > 1

    @property
    def logged(self) -> bool:
        """Whether the ingress tells of each of its requests."""
        return self.measured or self.counted
