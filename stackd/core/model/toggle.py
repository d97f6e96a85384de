"""Feature toggles of a service: whom they reach, and what is set by hand beside that.

Declared in `ServiceSpec.features`, carried to every node in `TrafficEntry.features`, decided by
`core.traffic.reach`. A change of one replaces no task.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.record import Record, Value

ToggleValue = bool | int | float | str
WHOLE = 10_000
"""Everybody, as a share."""


class ToggleRule(Value, frozen=True, kw_only=True):
    """Who has one of these values of an attribute has a share of its own."""

    attribute: str
    any_of: tuple[str, ...]
    """As texts; `true` and `false` for booleans, numbers as they are written."""
    share: int = WHOLE
    """0..10000."""


class Toggle(Value, frozen=True, kw_only=True):
    """One toggle. The first rule that matches decides on the share; without one, `share`."""

    share: int = 0
    """0..10000 of all targeting keys get `value`; as it grows, nobody loses it again."""
    value: ToggleValue = True
    otherwise: ToggleValue = False
    """What all others get; of the same kind as `value`."""
    rules: tuple[ToggleRule, ...] = ()


class ToggleOverride(Record, frozen=True, kw_only=True):
    """A share set by hand; ends when the declared share changes."""

    TABLE: ClassVar[str] = "feature_overrides"
    stack: str
    service: str
    feature: str
    share: int
    declared: int
    """The declared share when it was set."""
    by: str
    at: float

    @property
    def key(self) -> str:
        return f"{self.stack}/{self.service}/{self.feature}"

    def holds(self, features: Mapping[str, Toggle]) -> bool:
        """Its toggle is still declared as it was then."""
        found = features.get(self.feature)
        return found is not None and found.share == self.declared


def in_effect(toggle: Toggle, override: ToggleOverride | None) -> Toggle:
    """The toggle as it acts now."""
    if override is None or override.declared != toggle.share:
        return toggle
    return msgspec.structs.replace(toggle, share=override.share)
