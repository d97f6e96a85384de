"""Which analyses a rollout asks for now.

Called by the analyses loop, which looks as often as each policy says, and by `judge`, which reads
the answers at the places named here.
"""

from collections.abc import Mapping

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.rollout import Rollout, RolloutPhase
from stackd.core.model.stack import Analyse, Strategy
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
