"""Which rollout a service should have now: the one that runs, a new one, or none.

Called by `service`. A hold refuses its revision; a newer declared one takes over at once.
"""

from dataclasses import dataclass

from stackd.core.model.ids import RevisionId
from stackd.core.model.release import Hold, Release
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.strategy import Strategy, StrategyKind
from stackd.core.rollout.pauses import ACTIVE


@dataclass(frozen=True)
class Case:
    """One service: what its current release declares, and where it stands."""

    release: Release
    spec: ServiceSpec
    declared: RevisionId
    state: ServiceState
    hold: Hold | None
    """On the declared revision."""

    @property
    def active(self) -> Rollout | None:
        """The rollout that has not ended."""
        rollout = self.state.rollout
        return rollout if rollout is not None and rollout.phase in ACTIVE else None

    @property
    def by_hand(self) -> bool:
        """A person asked for a proven revision instead of the declared one."""
        active = self.active
        return (
            active is not None
            and self.hold is not None
            and active.target != self.declared
            and active.target in self.state.proven
        )

    @property
    def policy(self) -> Strategy:
        """The pace of what runs now: a way back has its own."""
        active = self.active
        back = active is not None and active.phase is RolloutPhase.ROLLING_BACK
        if self.spec.strategy.kind is StrategyKind.RECREATE:
            return self.spec.strategy
        return self.spec.rollback if back or self.by_hand else self.spec.strategy


def next_target(case: Case) -> RevisionId | None:
    """The revision a new rollout must go to, or None when what is there goes on."""
    active, declared = case.active, case.declared
    if case.hold is None:
        if active is None:
            return None if case.state.stable == declared else declared
        back = active.phase is RolloutPhase.ROLLING_BACK
        return declared if active.target != declared or back else None
    if active is None or active.target == declared or case.by_hand:
        return None
    if active.target == case.state.stable:
        return None
    return case.state.stable
