"""One look at one service, while it is being worked out.

Handed through `service`, `ending` and `settled`.
"""

from dataclasses import dataclass, replace

import msgspec

from stackd.core.model.draft import Draft
from stackd.core.model.event import Event
from stackd.core.model.record import Change, Record
from stackd.core.model.rollout import Rollout, ServiceState, ToggleState
from stackd.core.model.world import World
from stackd.core.rollout import gates, groups, staged
from stackd.core.rollout.choose import Case
from stackd.core.rollout.common import Observed
from stackd.core.rollout.observing import observe


@dataclass
class Look:
    """One look at one service while it is being worked out."""

    world: World
    case: Case
    draft: Draft
    state: ServiceState
    also: list[Record | Change]
    """Events, holds and ended overrides that belong to the same write."""
    wake_at: float | None = None

    @property
    def name(self) -> str:
        return self.state.key

    def tell(self, verb: str, text: str, cause: str = "") -> Event:
        event = self.draft.event(f"rollout.{verb}", self.name, text, cause)
        self.also.append(event)
        return event

    def put(self, rollout: Rollout) -> None:
        self.state = msgspec.structs.replace(self.state, rollout=rollout)
        self.case = Case(
            self.case.release, self.case.spec, self.case.declared, self.state, self.case.hold
        )


def observed_now(look: Look, target: str) -> Observed:
    """What there is of the service, on the way to `target`."""
    state = look.state
    if isinstance(state, ToggleState):
        seen = staged.observe(look.world, state, target)
    else:
        seen = observe(look.world, state.stack, look.case.spec, state, target, look.draft.now)
    if target == state.stable:
        return seen
    seen = replace(seen, gate=gates.of(look.world, state, look.case.policy))
    if not look.case.spec.strategy.group:
        return seen
    return replace(seen, barrier=groups.barrier(look.world, look.case.release, state.service))
