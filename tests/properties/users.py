"""Made users of an A/B rollout: what both variants' requests reach, in virtual time."""

from random import Random

from stackd.core.analysis import variants
from stackd.core.model.variants import GoalVerdict, Tried, UserGoal
from tests.properties.rules import Draw

LOOKS = 120
STABLE, TARGET = 400, 100
"""Requests between two looks: a share of 20 %."""


def shopped(seed: int, stable: float, target: float) -> tuple[GoalVerdict, int]:
    """The first verdict with these rates of the goal, and after how many looks."""
    source, ours, theirs = Random(seed), Draw(target, TARGET), Draw(stable, STABLE)
    known = variants.going_on(None, UserGoal(path="/order"), 0.0)
    for look in range(1, LOOKS + 1):
        new = Tried(requests=TARGET, goals=ours.one(source))
        old = Tried(requests=STABLE, goals=theirs.one(source))
        known = variants.counted(known, (known.stable.plus(old), known.target.plus(new)), look)
        if known.verdict is not GoalVerdict.INCONCLUSIVE:
            return known.verdict, look
    return known.verdict, LOOKS
