"""What happens while a plan is played, as people would be told it: events, steps, waits.

Called by `simulate`, fed by `virtual` with every event and every new state of a service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.api.simulation import SimulatedStep
from stackd.core.model.event import Event
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.strategy import Analyse, Pause, RolloutStep
from stackd.core.model.world import World
from stackd.core.rollout import asked, places, steps

_TOLD = ("rollout.", "service.")
_BY_STATE = ("rollout.step", "rollout.promoted")
"""Told from the states of services instead, each step of them."""


def shortest(policy: AnalysisPolicy) -> float:
    """Seconds until an analysis may pass at the earliest."""
    return policy.warm_up + policy.interval


@dataclass
class Story:
    """`began`: the moment from which times count (the manager's clock)."""

    world: World
    began: float
    now: float
    lines: list[SimulatedStep] = field(default_factory=list)
    analyses: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """(service, rollout, place) of an analysis under way -> when it is taken to pass."""
    _reached: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Service -> rollout and number of the last step told."""

    def tell(self, object_: str, text: str, wait: str = "", seconds: float = 0) -> None:
        """Something happens now."""
        at = round(self.now - self.began, 2)
        self.lines.append(
            SimulatedStep(at=at, object=object_, text=text, wait=wait, seconds=seconds)
        )

    def event(self, event: Event) -> None:
        """An event of a decider."""
        if event.kind.startswith(_TOLD) and event.kind not in _BY_STATE:
            verb = event.kind.partition(".")[2].replace("_", " ")
            self.tell(event.object, f"{verb}: {event.text}" if event.text else verb)

    def state(self, state: ServiceState) -> None:
        """Where a service stands after a look."""
        part = places.declared(self.world.release(state.stack), state.service)
        rollout = state.rollout
        if rollout is None or part is None or rollout.phase is not RolloutPhase.PROGRESSING:
            return
        policy = part.spec.strategy
        back = rollout.target in state.proven or rollout.full
        if rollout.source is not None and not back:
            self._steps(state.key, rollout, tuple(steps.of(policy)))
        for place, analysis in asked.analyses(policy, rollout).items():
            name = (state.service, rollout.id, place)
            self.analyses.setdefault(name, self.now + shortest(analysis))

    def _steps(self, key: str, rollout: Rollout, todo: tuple[RolloutStep, ...]) -> None:
        """Each step that has been reached since; those that take no time, too."""
        known, number = self._reached.get(key, ("", -1))
        last = number if known == rollout.id else -1
        self._reached[key] = (rollout.id, rollout.step)
        for index in range(last + 1, min(rollout.step + 1, len(todo))):
            wait, seconds = _wait(todo[index])
            words = todo[index].words
            self.tell(key, f"step {index + 1} of {len(todo)}: {words}", wait, seconds)
        if last < len(todo) <= rollout.step and todo and key.count("/") == 1:
            self.tell(key, "takes over")


def _wait(step: RolloutStep) -> tuple[str, float]:
    """What a step waits for by itself, and how long."""
    if isinstance(step, Pause):
        return ("timed", step.seconds) if step.seconds else ("person", 0)
    if isinstance(step, Analyse):
        return "analysis", shortest(step.policy)
    return "", 0


def due(analyses: Mapping[tuple[str, str, str], float], now: float) -> list[tuple[str, str, str]]:
    """The analyses that are taken to pass now."""
    return [name for name, at in analyses.items() if at <= now]
