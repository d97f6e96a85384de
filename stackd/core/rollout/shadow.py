"""Shadow: the new revision is shown a share of the stable one's requests, and nobody sees its
answers; after a time the analysis decides whether it takes over or goes."""

from collections.abc import Sequence

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Amount, Analyse, RolloutStep, SetMirror, SetScale, Strategy
from stackd.core.rollout import weighted
from stackd.core.rollout.answers import BACKGROUND
from stackd.core.rollout.common import Observed, Step


def steps(policy: Strategy) -> Sequence[RolloutStep]:
    """As many tasks as the share needs, the share, and a time in which it is judged: by the
    analysis beside all steps, so that a failure ends it at once and a pass does not."""
    percent = -(-policy.mirror // 100)
    return (
        SetScale(tasks=Amount(value=percent, percent=True)),
        SetMirror(share=policy.mirror),
        Analyse(
            policy=policy.analysis or AnalysisPolicy(),
            called=BACKGROUND,
            seconds=policy.duration,
        ),
    )


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next counts, weights and share of a shadow of `observed.stable`."""
    return weighted.step(steps(policy), policy, state, observed, now)
