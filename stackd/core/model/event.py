"""What happened, to what, by whom, caused by which event."""

from typing import ClassVar

from stackd.core.model.record import Record


class Event(Record, frozen=True, kw_only=True):
    """One thing that happened. Ids sort in time order."""

    TABLE: ClassVar[str] = "events"
    id: str
    at: float
    """Unix seconds."""
    kind: str
    """`noun.verb`, e.g. task.failed, rollout.completed."""
    object: str
    """STACK, STACK/SERVICE, task id, node name, repository name."""
    principal: str
    cause: str = ""
    """Id of the event that led to this one."""
    text: str = ""

    @property
    def key(self) -> str:
        return self.id
