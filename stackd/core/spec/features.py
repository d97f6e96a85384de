"""`features` of a service: toggles that are asked for while it runs."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from stackd.core.model.toggle import WHOLE, Toggle, ToggleRule, ToggleValue
from stackd.core.spec import scalars
from stackd.core.spec.fields import (
    NAMED,
    Name,
    Section,
    Text,
    fault,
    hundredths,
    matching,
    one_or_many,
)
from stackd.core.spec.stages import StagesSection

ATTRIBUTE = r"[A-Za-z_][A-Za-z0-9_.-]{0,62}"
MAX_FEATURES = 100
MAX_RULES = 20
_WHOLE_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")


Share = Annotated[int, hundredths("share")]


class RuleSection(Section):
    """One item of `rules`."""

    attribute: Annotated[str, matching(ATTRIBUTE, "the name of an attribute")]
    any_of: Annotated[
        list[Text], BeforeValidator(one_or_many, json_schema_input_type=Text | list[Text])
    ]
    rollout: Share | None = None


class FeatureSection(Section):
    """One of `features`."""

    rollout: Share | None = None
    value: Text | None = None
    otherwise: Text | None = None
    rules: list[RuleSection] | None = None
    strategy: StagesSection | None = None

    @model_validator(mode="after")
    def _goes_somewhere(self) -> "FeatureSection":
        if self.strategy is not None and self.rollout is None:
            raise fault("strategy takes the toggle to its share: add `rollout: 100%`")
        return self


def _switch(data: Any) -> Any:
    """`true` and `false` as everybody and nobody; everything else unchanged."""
    if not isinstance(data, str):
        return data
    try:
        return {"rollout": "100%" if scalars.boolean(data) else "0%"}
    except ValueError as error:
        raise fault(f"{error}, or a mapping with `rollout`") from error


FeatureItem = Annotated[
    FeatureSection, BeforeValidator(_switch, json_schema_input_type=FeatureSection | bool)
]
Features = Annotated[dict[Name, FeatureItem], NAMED]


def build(sections: Mapping[str, FeatureSection]) -> Mapping[str, Toggle]:
    """The toggles as nodes decide on them.

    Raises:
        ValueError: too many, or values of two kinds.
    """
    if len(sections) > MAX_FEATURES:
        raise ValueError(f"more than {MAX_FEATURES} features")
    return {name: _feature(name, section) for name, section in sorted(sections.items())}


def _feature(name: str, section: FeatureSection) -> Toggle:
    base = Toggle()
    rules = section.rules or ()
    if len(rules) > MAX_RULES:
        raise ValueError(f"{name} has more than {MAX_RULES} rules")
    value = base.value if section.value is None else typed(section.value)
    otherwise = base.otherwise if section.otherwise is None else typed(section.otherwise)
    if _kind(value) != _kind(otherwise):
        text = f"{name}: value is {_kind(value)}, otherwise is {_kind(otherwise)}"
        raise ValueError(f"{text}: give both, of one kind")
    return Toggle(
        share=section.rollout or 0,
        value=value,
        otherwise=otherwise,
        rules=tuple(
            ToggleRule(
                attribute=rule.attribute,
                any_of=tuple(dict.fromkeys(rule.any_of)),
                share=WHOLE if rule.rollout is None else rule.rollout,
            )
            for rule in rules
        ),
    )


def typed(text: str) -> ToggleValue:
    """`true` and `false` are booleans, what is written like a number is one, all else is text."""
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _kind(value: ToggleValue) -> str:
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case _:
            return "a number"
