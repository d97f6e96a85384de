"""What `plan --simulate` answers: a rollout played in virtual time."""

from collections.abc import Mapping

from stackd.core.model.api.base import Answer


class SimulatedStep(Answer, frozen=True, kw_only=True):
    """Something that would happen. `wait`: `timed`, `person` or `analysis`; '' = no wait."""

    at: float
    """Seconds after the release is declared; waits for people take no time here."""
    object: str
    text: str
    wait: str = ""
    seconds: float = 0
    """How long it waits; for an analysis at least."""


class NodePeak(Answer, frozen=True, kw_only=True):
    """The most that a node carries at any moment: tasks, and what they reserve of what it has."""

    node: str
    tasks: int
    cpus: float
    memory: int
    """Bytes."""
    has_cpus: float
    has_memory: int


class Assumed(Answer, frozen=True, kw_only=True):
    """What was taken for granted. Nodes apply traffic at once, no request stays open, no task
    fails, analyses pass as early as they may, people answer at once."""

    start_seconds: Mapping[str, float]
    """Service -> from being placed to running."""
    measured: tuple[str, ...]
    """Services whose start is the median of their tasks that run now; others are guessed."""
    stop_seconds: float


class SimulationAnswer(Answer, frozen=True, kw_only=True):
    """A plan, played."""

    steps: tuple[SimulatedStep, ...]
    duration: float
    """Seconds until every service of the stack is done; people's time is not in it."""
    cleared: float
    """Seconds until the last replaced or removed task has gone."""
    people: int
    """How often it waits for a person."""
    peaks: tuple[NodePeak, ...]
    """By node, of the nodes that carry something."""
    blocked: tuple[str, ...]
    """What would keep it from ending well; () = nothing."""
    assumed: Assumed
