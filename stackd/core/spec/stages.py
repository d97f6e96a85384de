"""`strategy` of a feature toggle: how it gets to a larger share, step by step.

Called by `features` for what a stack file says, by `assembly` for what its analyses judge by.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.strategy import OnFailure, RolloutStep, SetWeight, Strategy, StrategyKind
from stackd.core.spec import steps
from stackd.core.spec.analysis import AnalysisSection, LimitsSection
from stackd.core.spec.fields import Section, choice, seconds
from stackd.core.spec.judged import Wanted
from stackd.core.spec.steps import MAX_STEPS, StepSection

At = tuple[str | int, ...]
"""Where something stands below `strategy`."""

_FOREIGN = ("set_scale", "match", "mirror")
_ALONE = "nothing tells the requests of those whom a toggle reaches from others, to be compared"


class StagesSection(Section):
    """`strategy` of a toggle."""

    steps: Annotated[list[StepSection], Field(min_length=1, max_length=MAX_STEPS)]
    analysis: AnalysisSection | None = None
    on_failure: Annotated[str, choice("rollback", "pause", "step_back")] | None = None
    progress_deadline: Annotated[float, seconds(1, 7 * 86400, "1s to 7d")] | None = None


def analyses(section: StagesSection, *, measured: bool) -> Iterator[Wanted]:
    """Every analysis of a toggle. Beside checks, requests have a say only where limits are given.
    `measured`: requests to the service are seen one by one."""
    found: list[tuple[At, AnalysisSection | None]] = [(("analysis",), section.analysis)]
    found += [(("steps", at, "analysis"), step.analysis) for at, step in enumerate(section.steps)]
    for at, one in found:
        if one is not None:
            if measured and one.checks and one.limits is None:
                one = one.model_copy(update={"limits": LimitsSection()})
            yield Wanted(at, one, alone=_ALONE)


def faults(section: StagesSection, http: str) -> Iterator[tuple[At, str]]:
    """What is wrong with single keys: where, and the words. `http`: what the service lacks for
    requests that are seen one by one; '' when they are."""
    for number, step in enumerate(section.steps):
        for key in _FOREIGN:
            if getattr(step, key) is not None:
                text = f"{key} is about tasks and requests, which a toggle has not: remove it"
                yield ("steps", number, key), text
    for number, text in steps.faults(section.steps, ""):
        yield ("steps", number), text
    for wanted in analyses(section, measured=not http):
        yield from wanted.faults(http)


def build(section: StagesSection, share: int, policies: Mapping[At, AnalysisPolicy]) -> Strategy:
    """The strategy with which a toggle gets to `share`, 0..10000, which its last step sets; steps
    beyond that stop there. `policies`: what its `analyses` say."""
    inline = {int(at[1]): policy for at, policy in policies.items() if at[0] == "steps"}
    todo = _clamped(steps.build(section.steps, inline), share)
    base = Strategy(kind=StrategyKind.STAGED)
    return Strategy(
        kind=StrategyKind.STAGED,
        steps=todo,
        analysis=policies.get(("analysis",)),
        on_failure=OnFailure(section.on_failure or base.on_failure),
        progress_deadline=section.progress_deadline or base.progress_deadline,
    )


def _clamped(todo: Sequence[RolloutStep], share: int) -> tuple[RolloutStep, ...]:
    found = [
        SetWeight(weight=min(step.weight, share)) if isinstance(step, SetWeight) else step
        for step in todo
    ]
    last = next((step for step in reversed(found) if isinstance(step, SetWeight)), None)
    if last is None or last.weight != share or not isinstance(found[-1], SetWeight):
        found.append(SetWeight(weight=share))
    return tuple(found)
