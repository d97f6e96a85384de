"""What is asked and told of feature toggles."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from stackd.core.model.api.base import Answer
from stackd.core.model.api.underway import AnalysisRow, RolloutRow
from stackd.core.model.record import Value
from stackd.core.model.toggle import WHOLE, ToggleValue


class FlagRequest(Value, frozen=True, kw_only=True):
    """A share of a toggle, set by hand; None = as declared."""

    name: str
    """STACK/SERVICE/TOGGLE."""
    share: Annotated[int, msgspec.Meta(ge=0, le=WHOLE)] | None = None
    """0..10000."""


class FlagRow(Answer, frozen=True, kw_only=True):
    """A line of `flag ls`, and of `features` in the status of a service."""

    stack: str
    service: str
    feature: str
    share: int
    """0..10000, as it acts now."""
    declared: int
    value: ToggleValue
    otherwise: ToggleValue
    rules: tuple[str, ...]
    override: Mapping[str, str | int] | None
    since: str
    """Since when it has been declared just so, as far as releases are kept."""
    asked: str
    """When a task last asked for it, to the minute, as far as agents have run; '' = never."""
    stale: bool
    """It has reached everybody or nobody for 30 days: what asks for it could do without."""
    unused: bool = False
    """No task has asked for it for 7 days, while it was declared and every agent has run."""
    steps: tuple[str, ...] = ()
    """How it gets to its declared share; none = at once."""
    step: int = 0
    """Steps that are done: `steps[step]` is the current one."""
    phase: str = ""
    """Where it stands on that way, as of a service; '' without steps."""
    reason: str = ""
    rollout: RolloutRow | None = None
    analyses: tuple[AnalysisRow, ...] = ()


class FlagRows(Answer, frozen=True, kw_only=True):
    """`flag ls`."""

    flags: tuple[FlagRow, ...]
