"""Which analyses a rollout asks for now.

Called by the analyses loop, which looks as often as each policy says, and by the rollouts loop,
which reads the answers at the places named here.
"""

from collections.abc import Mapping

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.rollout import Rollout, RolloutPhase
from stackd.core.model.stack import Analyse, Strategy
from stackd.core.rollout import steps

BACKGROUND = "background"
_LOOKED_AT = (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)


def place(number: int) -> str:
    """Of the analysis that step `number` (from 0) is."""
    return f"step {number + 1}"


def analyses(policy: Strategy, rollout: Rollout) -> Mapping[str, AnalysisPolicy]:
    """Place -> policy of what is to be looked at now."""
    if rollout.phase not in _LOOKED_AT:
        return {}
    found = {BACKGROUND: policy.analysis} if policy.analysis is not None else {}
    todo = steps.of(policy)
    if rollout.step < len(todo):
        current = todo[rollout.step]
        if isinstance(current, Analyse):
            found[place(rollout.step)] = current.policy
    return found
