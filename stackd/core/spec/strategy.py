"""`strategy`, `update_config` and `rollback_config`: how a service goes to another revision."""

from typing import Annotated, Any, ClassVar

from msgspec.structs import replace
from pydantic import BeforeValidator

from stackd.core.model.stack import Amount, OnFailure, Strategy, StrategyKind
from stackd.core.spec.fields import (
    Duration,
    Section,
    choice,
    decimal,
    matching,
    seconds,
    whole,
)

MAX_TASKS = 100_000
_LATER = ("blue-green", "canary", "shadow", "ab")
_STOP_FIRST = Strategy(max_surge=Amount(value=0), max_unavailable=Amount(value=1))

Share = Annotated[
    str, matching(r"[0-9]{1,5}|(?:100|[0-9]{1,2})%", "a number or a percentage up to 100%")
]
Drain = Annotated[float, seconds(0, 600, "0s to 10m")]
Deadline = Annotated[float, seconds(1, 7 * 86400, "1s to 7d")]
Kind = Annotated[str, choice("rolling", "recreate", planned=_LATER)]


class StrategySection(Section):
    """`strategy`."""

    PLANNED: ClassVar[frozenset[str]] = frozenset(
        {
            "steps", "analysis", "preview", "auto_promote", "auto_promote_after", "pre_promotion",
            "post_promotion", "mirror", "duration", "match", "split", "scale_down_delay",
        }
    )  # fmt: skip

    type: Kind
    max_surge: Share | None = None
    max_unavailable: Share | None = None
    delay: Duration | None = None
    monitor: Duration | None = None
    max_failure_ratio: Annotated[float, decimal(0, 1)] | None = None
    progress_deadline: Deadline | None = None
    drain_timeout: Drain | None = None
    on_failure: Annotated[str, choice("rollback", "pause", planned=("step_back",))] | None = None


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


def _amount(text: str) -> Amount:
    if text.endswith("%"):
        return Amount(value=int(text[:-1]), percent=True)
    return Amount(value=int(text))


def _given(section: Section, *keys: str) -> dict[str, Any]:
    values = {key: getattr(section, key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


_PACE = ("delay", "monitor", "max_failure_ratio")


def from_strategy(section: StrategySection, stop_first: bool) -> Strategy:
    """The strategy that a `strategy` key describes.

    Raises:
        ValueError: its keys contradict each other.
    """
    common = _given(section, *_PACE, "progress_deadline", "drain_timeout")
    if section.on_failure:
        common["on_failure"] = OnFailure(section.on_failure)
    if section.type == StrategyKind.RECREATE:
        for key in ("max_surge", "max_unavailable", "delay"):
            if getattr(section, key) is not None:
                raise ValueError(f"recreate stops all tasks and then starts all: remove {key}")
        all_at_once = Amount(value=100, percent=True)
        return Strategy(
            kind=StrategyKind.RECREATE,
            max_surge=Amount(value=0),
            max_unavailable=all_at_once,
            **common,
        )
    surge = _amount(section.max_surge or ("0" if stop_first else "1"))
    unavailable = _amount(section.max_unavailable or ("0" if surge.value else "1"))
    if surge.value == 0 and unavailable.value == 0:
        raise ValueError("max_surge and max_unavailable are both 0: nothing could be replaced")
    return Strategy(max_surge=surge, max_unavailable=unavailable, **common)


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
    if strategy.kind is StrategyKind.RECREATE:
        return replace(base, **_given(section, *_PACE))
    return _paced(section, base)


def overlaps(strategy: Strategy) -> bool:
    """Whether old and new tasks of a slot may run at the same time."""
    return strategy.max_surge.value > 0
