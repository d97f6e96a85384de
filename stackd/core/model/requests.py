"""Requests as the ingress of a node saw them: what agents tell managers of services that are
being analysed, or are in an A/B rollout.

Made by `xds.accesslog` and `agent.requests`, kept by `manager.inbox`, cut to the blocks of an
analysis by `core.analysis.blocks`. Times are seconds.
"""

from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Value
from stackd.core.model.variants import Tried

BATCH = 10
"""Requests of a batch."""


class Request(Value, frozen=True, kw_only=True):
    """One request that was answered, or failed; not one that its client gave up."""

    stack: str
    service: str
    revision: RevisionId
    instance: str
    """The task, or its address when it is not known any more; '' when none was reached."""
    began: float
    """Unix time, on the node's clock."""
    seconds: float
    failed: bool
    """5xx, timeout, reset."""
    turned: bool = False
    """Turned away: answered with 3xx, but 304, or 4xx."""
    shadow: bool = False
    """Mirrored: its answer went nowhere."""
    judged: bool = True
    """It is looked at by an analysis."""
    counted: bool = False
    """It is counted for its variant of an A/B rollout."""
    goal: str = ""
    """Words of the goal that is declared."""
    reached: bool = False
    """It reaches the goal."""


class Batch(Value, frozen=True, kw_only=True):
    """`BATCH` consecutive requests to one instance through one node's ingress."""

    stack: str
    service: str
    revision: RevisionId
    instance: str
    """The task; mirrored requests to it apart. The manager adds the node."""
    sequence: int
    """Grows for as long as the instance lives, also over restarts of the agent."""
    since: float
    """When its first request began."""
    seconds: tuple[float, ...]
    failed: tuple[int, ...] = ()
    """Which of them failed, from 0."""
    turned: tuple[int, ...] = ()
    """Which of them were turned away, from 0."""

    @property
    def key(self) -> str:
        """Of the service."""
        return service_key(self.stack, self.service)


class Count(Value, frozen=True, kw_only=True):
    """What the proxy's own counters of a revision grew by; `errors` holds also what was retried."""

    stack: str
    service: str
    revision: RevisionId
    requests: int
    errors: int
    mirrored: int = 0
    """Those of `requests` that were sent to it as well as to another."""
    connections: int = 0
    """To TCP ports."""

    @property
    def key(self) -> str:
        """Of the service."""
        return service_key(self.stack, self.service)


class Variant(Value, frozen=True, kw_only=True):
    """Requests to one revision of a service that is in an A/B rollout."""

    stack: str
    service: str
    revision: RevisionId
    goal: str = ""
    """Words of the goal that `tried.goals` counts."""
    tried: Tried

    @property
    def key(self) -> str:
        """Of the service."""
        return service_key(self.stack, self.service)


class Measured(Value, frozen=True, kw_only=True):
    """What one node saw since it last said so."""

    batches: tuple[Batch, ...] = ()
    counts: tuple[Count, ...] = ()
    variants: tuple[Variant, ...] = ()
