"""`steps` of a canary: what is done before the new revision takes over.

Called by `strategy`, and by `judged` for the faults of a single step.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, model_validator

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.strategy import (
    Amount,
    Analyse,
    Pause,
    RolloutStep,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
)
from stackd.core.spec import matchers, scalars
from stackd.core.spec.analysis import AnalysisSection
from stackd.core.spec.fields import (
    Both,
    Section,
    fault,
    hundredths,
    matching,
    pattern_schema,
    scalar,
)
from stackd.core.spec.matchers import Matches
from stackd.core.spec.scalars import shown

MAX_STEPS = 100
_LONGEST = 30 * 86400

AmountText = Annotated[
    str, matching(r"[0-9]{1,5}|(?:100|[0-9]{1,2})%", "a number or a percentage up to 100%")
]


def _pause(data: Any) -> float:
    """Seconds; 0 = until promoted."""
    if data == {}:
        return 0.0
    try:
        found = scalars.duration(scalar(data))
    except ValueError as error:
        raise fault(str(error)) from error
    if not 0 < found <= _LONGEST:
        raise fault(f"{shown(scalar(data))} is out of range: up to 30d, or {{}} until promoted")
    return found


Weight = Annotated[int, hundredths("weight")]


class StepSection(Section):
    """One item of `steps`: one key."""

    model_config = ConfigDict(
        json_schema_extra={"patternProperties": {"^x-": {}}, "minProperties": 1}
    )

    set_weight: Weight | None = None
    pause: (
        Annotated[
            float,
            Both(
                BeforeValidator(_pause),
                {
                    "anyOf": [
                        {"type": "object", "maxProperties": 0},
                        pattern_schema(scalars.DURATION),
                    ]
                },
            ),
        ]
        | None
    ) = None
    set_scale: AmountText | None = None
    match: Matches | None = None
    mirror: Weight | None = None
    analysis: AnalysisSection | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len([key for key in _KINDS if getattr(self, key) is not None]) != 1:
            raise fault(f"a step has one key: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}")
        return self


_KINDS = ("set_weight", "pause", "set_scale", "match", "mirror", "analysis")


def amount(text: str) -> Amount:
    """A number of tasks, or a share of them."""
    if text.endswith("%"):
        return Amount(value=int(text[:-1]), percent=True)
    return Amount(value=int(text))


def build(
    sections: Sequence[StepSection], policies: Mapping[int, AnalysisPolicy]
) -> tuple[RolloutStep, ...]:
    """The steps as the rollouts take them. `policies`: of those that are an analysis, by number.

    Raises:
        ValueError: there are none.
    """
    if not sections:
        raise ValueError("canary needs steps: add `steps: [{set_weight: 5%}, {pause: 10m}]`")
    return tuple(_step(section, policies.get(at)) for at, section in enumerate(sections))


def _step(section: StepSection, policy: AnalysisPolicy | None) -> RolloutStep:
    if section.analysis is not None:
        return Analyse(policy=policy or AnalysisPolicy())
    if section.match is not None:
        return SetMatch(any_of=matchers.build(section.match))
    if section.mirror is not None:
        return SetMirror(share=section.mirror)
    if section.set_weight is not None:
        return SetWeight(weight=section.set_weight)
    if section.set_scale is not None:
        return SetScale(tasks=amount(section.set_scale))
    return Pause(seconds=section.pause or 0)


def reached(sections: Sequence[StepSection]) -> bool:
    """Requests reach the new revision after these steps."""
    return any(section.set_weight or section.match or section.mirror for section in sections)


def faults(sections: Sequence[StepSection], http: str) -> Iterator[tuple[int, str]]:
    """What is wrong with single steps: their number, from 0, and the words. `http`: what the
    service lacks for requests that are seen one by one; '' when they are."""
    highest = 0
    for number, section in enumerate(sections):
        weight = section.set_weight
        for key in ("match", "mirror"):
            if getattr(section, key) is not None and http:
                yield number, f"{key} needs requests that are seen one by one: {http}"
        if weight is not None and weight < highest:
            yield number, f"{weight / 100:g}% comes after {highest / 100:g}%: weights only go up"
        highest = max(highest, weight or 0)
