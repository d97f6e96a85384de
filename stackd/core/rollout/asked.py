"""Which analyses a rollout asks for now.

Called by the analyses loop, which looks as often as each policy says, and by `judge`, which reads
the answers at the places named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.stack import Analyse, Strategy, StrategyKind
from stackd.core.model.variants import UserGoal
from stackd.core.model.world import World
from stackd.core.rollout import answers, steps
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
    if not policy.kind.weighted:
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
class Wanted:
    """What the rollout of a service asks for now: place -> policy."""

    rollout: Rollout
    source: RevisionId
    policies: Mapping[str, AnalysisPolicy]
    variants: bool
    """It shares out users between two revisions, and both are counted."""
    goal: UserGoal | None


def wanted(world: World, key: str) -> Wanted | None:
    """None when no rollout is under way that has something to be compared with."""
    stack, name = key.split("/", 1)
    state, spec = world.get(ServiceState, key), world.declared(stack, name)
    rollout = state.rollout if state is not None else None
    if spec is None or rollout is None or rollout.ended or rollout.source is None:
        return None
    policy = spec.strategy
    shared = policy.kind is StrategyKind.AB and rollout.phase in _LOOKED_AT and not rollout.full
    return Wanted(rollout, rollout.source, analyses(policy, rollout), shared, policy.goal)
