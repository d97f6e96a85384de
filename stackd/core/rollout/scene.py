"""What one look of a strategy with steps goes by, and the answers it can give.

Handed through `weighted` and `waiting`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import msgspec

from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import (
    Analyse,
    Pause,
    RolloutStep,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
    StrategyKind,
)
from stackd.core.model.traffic import TOTAL, Steering
from stackd.core.rollout.common import Observed, Step


@dataclass(frozen=True)
class Scene:
    """One look of a strategy with steps."""

    steps: Sequence[RolloutStep]
    policy: Strategy
    observed: Observed
    now: float

    @property
    def weights(self) -> Mapping[str, int]:
        """The weights as they are, all on stable before any was set."""
        seen = self.observed
        known = set(seen.weights) <= {seen.stable, seen.target}
        return seen.weights if seen.weights and known else {seen.stable: TOTAL}

    @property
    def in_place(self) -> int:
        """Tasks of the target that have been ready for long enough and that all nodes know."""
        seen = self.observed
        known = seen.carried.get(seen.target, 0) >= seen.tally(seen.target).ready
        return seen.tally(seen.target).available if seen.applied and known else 0

    def steering(self, done: int) -> Steering:
        """Where requests go whatever the weights, when so many steps are done."""
        target = RevisionId(self.observed.target)
        found = Steering()
        for step in self.steps[:done]:
            match step:
                case SetMatch(any_of=matches):
                    to = target if matches else RevisionId("")
                    found = msgspec.structs.replace(found, matches=matches, matched=to)
                case SetMirror(share=share):
                    to = target if share else RevisionId("")
                    found = msgspec.structs.replace(found, mirror=share, mirrored=to)
                case SetScale() if self.policy.preview is not None:
                    preview = self.policy.preview
                    found = msgspec.structs.replace(found, preview=preview, previewed=target)
                case SetWeight(weight=weight) if weight and self.policy.kind is StrategyKind.AB:
                    order = (RevisionId(self.observed.stable), target)
                    found = msgspec.structs.replace(found, sticky=True, order=order)
                case SetWeight(weight=weight) if weight == TOTAL:
                    none = RevisionId("")
                    found = msgspec.structs.replace(found, preview=None, previewed=none)
                case SetWeight() | Pause() | SetScale() | Analyse():
                    pass
                case never:
                    assert_never(never)
        return found

    def steered(self, number: int) -> Steering:
        """The same while step `number` is the current one, which may have set it already."""
        after = self.steering(number + 1)
        return after if self.observed.steering == after else self.steering(number)

    def shared(self, weight: int) -> dict[str, int]:
        """The target has `weight`, stable the rest."""
        both = {self.observed.stable: TOTAL - weight, self.observed.target: weight}
        return {revision: share for revision, share in both.items() if share}

    def tasks(self, number: int) -> int:
        """Tasks the target has while step `number` is the current one; all after the last."""
        wanted = self.observed.wanted
        if number >= len(self.steps):
            return wanted
        weight, scale = 0, 0
        for step in self.steps[: number + 1]:
            if isinstance(step, SetWeight):
                weight = step.weight
            elif isinstance(step, SetScale):
                scale = step.tasks.of(wanted, up=True)
        return min(wanted, max(1, scale, -(-weight * wanted // TOTAL)))

    def answer(
        self,
        state: Rollout,
        weights: Mapping[str, int],
        reason: str,
        wake: float | None = None,
        steering: Steering | None = None,
    ) -> Step:
        """Stable whole, the target as large as its step wants it; it gets smaller only when every
        node has applied what is asked for."""
        seen = self.observed
        new = seen.tally(seen.target)
        room = max(new.wanted, seen.wanted - (new.live - new.wanted))  # what ends takes room
        steering = self.steered(state.step) if steering is None else steering
        known = seen.applied and (seen.weights, seen.steering) == (weights, steering)
        kept = 0 if known else min(seen.counts.get(seen.target, 0), new.wanted, seen.wanted)
        count = min(max(self.tasks(state.step), kept), room)
        counts = {seen.stable: seen.wanted, seen.target: count}
        told = "takes over"
        if state.step < len(self.steps):
            number = f"step {state.step + 1} of {len(self.steps)}: "
            reason, told = number + reason, number + self.steps[state.step].words
        counts = {revision: count for revision, count in counts.items() if count}
        wake = wake or seen.tally(seen.target).next_available
        return Step(state, counts, wake, reason, weights, told=told, steering=steering)

    def leaving(self) -> dict[str, int]:
        """The tasks that are there of what is to go, none anew."""
        seen = self.observed
        return {r: min(seen.counts.get(r, 0), seen.tally(r).wanted) for r in seen.revisions}
