"""Requests as the ingress of a node saw them: what agents tell managers of services that are
being analysed.

Made by `xds.accesslog` and `agent.requests`, kept by `manager.inbox`, cut to the blocks of an
analysis by `core.analysis.blocks`. Times are seconds.
"""

from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Value

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
    shadow: bool = False
    """Mirrored: its answer went nowhere."""


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

    @property
    def key(self) -> str:
        """Of the service."""
        return service_key(self.stack, self.service)


class Measured(Value, frozen=True, kw_only=True):
    """What one node saw since it last said so."""

    batches: tuple[Batch, ...] = ()
    counts: tuple[Count, ...] = ()
