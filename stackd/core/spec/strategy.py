"""`strategy`, `update_config` and `rollback_config`: how a service goes to another revision."""

from collections.abc import Mapping
from typing import Annotated, Any, assert_never

from msgspec.structs import replace
from pydantic import BeforeValidator, Field, model_validator

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.stack import MAX_TASKS
from stackd.core.model.strategy import Amount, OnFailure, Preview, Strategy, StrategyKind
from stackd.core.spec import goals, matchers, steps
from stackd.core.spec.analysis import AnalysisSection
from stackd.core.spec.fields import (
    Duration,
    Flag,
    Name,
    PortNumber,
    Section,
    choice,
    decimal,
    fault,
    seconds,
    whole,
)
from stackd.core.spec.goals import GoalSection
from stackd.core.spec.matchers import Matches
from stackd.core.spec.routes import Host
from stackd.core.spec.steps import MAX_STEPS, AmountText, StepSection, Weight, amount

_STOP_FIRST = Strategy(max_surge=Amount(value=0), max_unavailable=Amount(value=1))

Drain = Annotated[float, seconds(0, 600, "0s to 10m")]
Deadline = Annotated[float, seconds(1, 7 * 86400, "1s to 7d")]
Kind = Annotated[str, choice(*(kind for kind in StrategyKind if kind is not StrategyKind.STAGED))]
Delay = Annotated[float, seconds(0, 7 * 86400, "0s to 7d")]


class PreviewSection(Section):
    """`preview`: where green is reached before the switch."""

    published: PortNumber | None = None
    host: Host | None = None

    @model_validator(mode="after")
    def _one(self) -> "PreviewSection":
        if (self.published is None) is (self.host is None):
            raise fault("green is reached at one place: published, or host")
        return self


class StrategySection(Section):
    """`strategy`."""

    type: Kind
    max_surge: AmountText | None = None
    max_unavailable: AmountText | None = None
    delay: Duration | None = None
    monitor: Duration | None = None
    max_failure_ratio: Annotated[float, decimal(0, 1)] | None = None
    progress_deadline: Deadline | None = None
    drain_timeout: Drain | None = None
    on_failure: Annotated[str, choice("rollback", "pause", "step_back")] | None = None
    steps: Annotated[list[StepSection], Field(max_length=MAX_STEPS)] | None = None
    scale_down_delay: Delay | None = None
    group: Name | None = None
    auto_promote: Flag | None = None
    auto_promote_after: Delay | None = None
    analysis: AnalysisSection | None = None
    preview: PreviewSection | None = None
    pre_promotion: AnalysisSection | None = None
    post_promotion: AnalysisSection | None = None
    mirror: Weight | None = None
    duration: Annotated[float, seconds(1, 7 * 86400, "1s to 7d")] | None = None
    match: Matches | None = None
    split: Weight | None = None
    goal: GoalSection | None = None


def _named(data: Any) -> Any:
    return {"type": data} if isinstance(data, str) else data


StrategyItem = Annotated[
    StrategySection, BeforeValidator(_named, json_schema_input_type=Kind | StrategySection)
]


class PaceSection(Section):
    """What update_config and rollback_config have in common."""

    parallelism: Annotated[int, whole(0, MAX_TASKS)] | None = None
    delay: Duration | None = None
    monitor: Duration | None = None
    max_failure_ratio: Annotated[float, decimal(0, 1)] | None = None
    order: Annotated[str, choice("start-first", "stop-first")] | None = None


class UpdateSection(PaceSection):
    """`update_config`."""

    failure_action: Annotated[str, choice("rollback", "pause", "continue")] | None = None


class RollbackSection(PaceSection):
    """`rollback_config`."""

    failure_action: Annotated[str, choice("pause", "continue")] | None = None


def _given(section: Section, *keys: str) -> dict[str, Any]:
    values = {key: getattr(section, key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


_PACE = ("delay", "monitor", "max_failure_ratio")
_ALL = Amount(value=100, percent=True)
_SWITCH = "only blue-green has a switch"
_GREEN = ("auto_promote", "auto_promote_after", "preview", "pre_promotion", "post_promotion")
_MIRROR = ("mirror", "duration")
_VARIANT = ("match", "split", "goal")
_STEPPED = ("steps", "scale_down_delay", "analysis", "group", *_GREEN, *_MIRROR, *_VARIANT)
_FOREIGN_KEYS = {
    StrategyKind.ROLLING: _STEPPED,
    StrategyKind.RECREATE: ("max_surge", "max_unavailable", "delay", *_STEPPED),
    StrategyKind.CANARY: ("delay", *_GREEN, *_MIRROR, *_VARIANT),
    StrategyKind.BLUE_GREEN: ("delay", "steps", *_MIRROR, *_VARIANT),
    StrategyKind.SHADOW: ("delay", "steps", "group", *_GREEN, *_VARIANT),
    StrategyKind.AB: ("delay", "steps", "group", *_GREEN, *_MIRROR),
}
"""Keys that say nothing to a strategy."""
_RECREATE = "{kind} stops all tasks and then starts all"
_WHY = {
    "max_surge": _RECREATE,
    "max_unavailable": _RECREATE,
    "delay": "{kind} does not replace tasks one after the other",
    "steps": "{kind} has no steps",
    "group": "only canary and blue-green go from step to step with others",
    "scale_down_delay": "{kind} keeps no replaced revision ready",
    "analysis": "{kind} does not run two revisions side by side to be compared",
    **dict.fromkeys(_GREEN, _SWITCH),
    "mirror": "only shadow is a mirror as a whole, canary has it as a step",
    "duration": "only shadow ends by time",
    "match": "only ab goes by a match as a whole, canary has it as a step",
    "split": "only ab splits users",
    "goal": "only ab compares what users do",
}


At = tuple[str | int, ...]
"""Where something stands below `strategy`."""


def from_strategy(
    section: StrategySection, stop_first: bool, policies: Mapping[At, AnalysisPolicy]
) -> Strategy:
    """The strategy that a `strategy` key describes. `policies`: what its `analyses` say.

    Raises:
        ValueError: its keys contradict each other.
    """
    common = _given(section, *_PACE, "progress_deadline", "drain_timeout")
    if section.on_failure:
        common["on_failure"] = OnFailure(section.on_failure)
    kind = StrategyKind(section.type)
    if section.on_failure == OnFailure.STEP_BACK and kind is not StrategyKind.CANARY:
        raise ValueError("step_back needs the weights of a canary: use rollback or pause")
    for key in ("analysis", "pre_promotion", "post_promotion"):
        if (key,) in policies:
            common[key] = policies[(key,)]
    foreign = [key for key in _FOREIGN_KEYS[kind] if getattr(section, key) is not None]
    if foreign:
        told = (f"{_WHY[key].format(kind=kind.value)}: remove {key}" for key in foreign)
        raise ValueError("; ".join(told))
    match kind:
        case StrategyKind.RECREATE:
            none = Amount(value=0)
            return Strategy(kind=kind, max_surge=none, max_unavailable=_ALL, **common)
        case StrategyKind.ROLLING:
            return Strategy(**_pace(section, stop_first), **common)
        case _:
            own = _own(section, kind, policies)
            return Strategy(kind=kind, **_pace(section, False), **{**common, **own})


def _own(
    section: StrategySection, kind: StrategyKind, policies: Mapping[At, AnalysisPolicy]
) -> dict[str, Any]:
    """What a strategy with two revisions side by side has of its own."""
    found = _given(
        section, "scale_down_delay", "group", "auto_promote", "auto_promote_after", "split"
    )
    match kind:
        case StrategyKind.CANARY:
            inline = {int(at[1]): policy for at, policy in policies.items() if at[0] == "steps"}
            return {**found, "steps": steps.build(section.steps or (), inline)}
        case StrategyKind.BLUE_GREEN:
            if section.auto_promote is False and section.auto_promote_after:
                raise ValueError(
                    "auto_promote: false waits for a person, auto_promote_after does not: keep one"
                )
            shown = section.preview
            if shown is not None:
                host = (shown.host or "").lower()
                found["preview"] = Preview(published=shown.published or 0, host=host)
            return found
        case StrategyKind.SHADOW:
            return {**found, **_shadow(section, policies)}
        case StrategyKind.AB:
            if not section.match and not section.split:
                raise ValueError("ab shares out nobody: add match, or a split of more than 0%")
            goal = goals.build(section.goal) if section.goal is not None else None
            return {**found, "match": matchers.build(section.match or ()), "goal": goal}
        case StrategyKind.ROLLING | StrategyKind.RECREATE | StrategyKind.STAGED:
            return found
        case never:
            assert_never(never)


def _shadow(section: StrategySection, policies: Mapping[At, AnalysisPolicy]) -> dict[str, Any]:
    """What only a shadow has. It is judged until its time is over, whatever a time limit says."""
    base = Strategy(kind=StrategyKind.SHADOW)
    share = base.mirror if section.mirror is None else section.mirror
    duration = section.duration or base.duration
    policy = policies[("analysis",)]
    if not share:
        raise ValueError("mirror: 0% shows the new revision nothing")
    if section.analysis is not None and section.analysis.time_limit is not None:
        raise ValueError("shadow is decided when duration is over: remove time_limit")
    if policy.warm_up + policy.interval > duration:
        raise ValueError("duration is over before the first look: it must exceed warm_up")
    same = replace(policy.compare, turned_ratio=policy.compare.error_ratio)
    policy = replace(policy, time_limit=duration, compare=same)
    return {"mirror": share, "duration": duration, "analysis": policy}


def _pace(section: StrategySection, stop_first: bool) -> dict[str, Any]:
    surge = amount(section.max_surge or ("0" if stop_first else "1"))
    unavailable = amount(section.max_unavailable or ("0" if surge.value else "1"))
    if surge.value == 0 and unavailable.value == 0:
        raise ValueError("max_surge and max_unavailable are both 0: nothing could be replaced")
    if surge.value == 0 and StrategyKind(section.type).weighted:
        raise ValueError(f"{section.type} runs old and new tasks at once: max_surge is at least 1")
    return {"max_surge": surge, "max_unavailable": unavailable}


def _paced(section: PaceSection, base: Strategy) -> Strategy:
    """`base` with what an update_config or rollback_config says."""
    values = _given(section, *_PACE)
    if section.order is None and section.parallelism is None:
        return replace(base, **values)
    start_first = overlaps(base) if section.order is None else section.order == "start-first"
    many = base.max_surge if overlaps(base) else base.max_unavailable
    if section.parallelism is not None:
        all_at_once = Amount(value=100, percent=True)
        many = Amount(value=section.parallelism) if section.parallelism else all_at_once
    none = Amount(value=0)
    surge, unavailable = (many, none) if start_first else (none, many)
    return replace(base, max_surge=surge, max_unavailable=unavailable, **values)


def from_update(section: UpdateSection, stop_first: bool) -> Strategy:
    """The rolling strategy that an update_config means."""
    action = OnFailure(section.failure_action or OnFailure.ROLLBACK)
    base = _STOP_FIRST if stop_first else Strategy()
    return replace(_paced(section, base), on_failure=action)


def rollback(strategy: Strategy, section: RollbackSection | None) -> Strategy:
    """How a rollback is paced: as the update, unless rollback_config says otherwise.

    A rollback that fails is never rolled back: it pauses, or goes on.
    """
    base = replace(strategy, on_failure=OnFailure.PAUSE)
    if section is None:
        return base
    if section.failure_action:
        base = replace(base, on_failure=OnFailure(section.failure_action))
    if strategy.kind is not StrategyKind.ROLLING:
        return replace(base, **_given(section, *_PACE))
    return _paced(section, base)


def overlaps(strategy: Strategy) -> bool:
    """Whether old and new tasks of a slot may run at the same time."""
    return strategy.max_surge.value > 0
