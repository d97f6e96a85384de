"""Which analyses a rollout asks for now.

Called by the analyses loop, which looks as often as each policy says, by `judge`, which reads the
answers at the places named here, and by `manager.checking` for what gates are told.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState, ToggleState
from stackd.core.model.strategy import Analyse, Strategy, StrategyKind
from stackd.core.model.variants import UserGoal
from stackd.core.model.world import World
from stackd.core.rollout import answers, gates, places, steps
from stackd.core.rollout.answers import BACKGROUND

_LOOKED_AT = (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)


def place(number: int) -> str:
    """Of the analysis that step `number` (from 0) is, at its first attempt."""
    return answers.place(number)


def background(at: str) -> bool:
    """The analysis at that place goes on beside the steps: it can only fail, and has no time
    limit."""
    return at.partition(", ")[0] == BACKGROUND


def analyses(policy: Strategy, rollout: Rollout) -> Mapping[str, AnalysisPolicy]:
    """Place -> policy of what is to be looked at now. Nothing for a first rollout, which has
    nothing to be compared with, and for one that goes without steps."""
    if rollout.phase not in _LOOKED_AT or rollout.source is None or rollout.full:
        return {}
    if not policy.kind.weighted or rollout.stands:
        return {}
    found: dict[str, AnalysisPolicy] = {}
    if policy.analysis is not None:
        found[answers.place(0, BACKGROUND, rollout.attempt)] = policy.analysis
    todo = steps.of(policy)
    if rollout.judges and rollout.step < len(todo):
        current = todo[rollout.step]
        if isinstance(current, Analyse):
            at = answers.place(rollout.step, current.called, rollout.attempt)
            found[at] = current.policy
    return found


@dataclass(frozen=True)
class Confirmed:
    """What a gate is asked to confirm."""

    step: int
    """From 1: the one that the rollout is to enter, or that is done when the gate lets it pass."""
    words: str
    steps: int
    """How many there are, with the take-over."""


def confirmed(policy: Strategy, state: ServiceState, at: str) -> Confirmed | None:
    """What a gate of the analysis at `at` confirms now; None when no step is left."""
    if state.rollout is None:
        return None
    beside = background(at)
    number = gates.upcoming(state, state.rollout) if beside else state.rollout.step
    words = steps.words(policy)
    return Confirmed(number + 1, words[number], len(words)) if number < len(words) else None


@dataclass(frozen=True)
class Wanted:
    """What the rollout of a service, or of a toggle of it, asks for now: place -> policy."""

    service: str
    """`STACK/SERVICE`: whose requests and tasks are looked at."""
    key: str
    """Of the `Analysis`: that of the service or of the toggle."""
    rollout: Rollout
    canary: RevisionId
    """Whose requests and tasks are judged: for a toggle all of the service."""
    source: RevisionId
    """With what they are compared; '' = with nothing."""
    policies: Mapping[str, AnalysisPolicy]
    variants: bool = False
    """It shares out users between two revisions, and both are counted."""
    goal: UserGoal | None = None
    share: int | None = None
    """0..10000 of all targeting keys are reached, if it is a toggle."""


def wanted(world: World, service: str) -> list[Wanted]:
    """What is asked for at `STACK/SERVICE`, by its own rollout and those of its toggles: nothing
    by one that has nothing to go back to."""
    stack, name = service.split("/", 1)
    found = [_of_service(world, service)]
    found += [
        _of_toggle(world, service, service_key(stack, one))
        for one in places.toggles(world, stack, name)
    ]
    return [one for one in found if one is not None]


def _of_service(world: World, key: str) -> Wanted | None:
    rollout, policy = _going(world, key)
    if policy is None or rollout is None or rollout.source is None:
        return None
    return Wanted(
        service=key,
        key=key,
        rollout=rollout,
        canary=rollout.target,
        source=rollout.source,
        policies=analyses(policy, rollout),
        variants=(
            policy.kind is StrategyKind.AB and rollout.phase in _LOOKED_AT and not rollout.full
        ),
        goal=policy.goal,
    )


def _of_toggle(world: World, service: str, key: str) -> Wanted | None:
    rollout, policy = _going(world, key)
    state = world.get(ToggleState, key)
    if policy is None or rollout is None or rollout.source is None or state is None:
        return None
    runs = world.get(ServiceState, service)
    return Wanted(
        service=service,
        key=key,
        rollout=rollout,
        canary=(runs.stable if runs is not None else None) or RevisionId(""),
        source=RevisionId(""),
        policies=analyses(policy, rollout),
        share=state.share,
    )


def _going(world: World, key: str) -> tuple[Rollout | None, Strategy | None]:
    """The rollout that has not ended, and its strategy."""
    stack, name = key.split("/", 1)
    state, part = places.state_of(world, key), places.declared(world.release(stack), name)
    rollout = state.rollout if state is not None else None
    going = rollout if rollout is not None and not rollout.ended else None
    return going, part.spec.strategy if part is not None else None
