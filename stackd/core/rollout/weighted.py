"""What canary and blue-green share: the new revision grows beside the old one, which stays whole;
weights move when every node has applied what was before; then the new one takes over in full.

Called by `canary` and `bluegreen` with their steps. A first rollout has nothing beside which it
could grow and goes as rolling; one to a revision that has run in full before skips the steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import msgspec

from stackd.core.model.rollout import Rollout
from stackd.core.model.stack import (
    Analyse,
    Pause,
    RolloutStep,
    SetMatch,
    SetMirror,
    SetScale,
    SetWeight,
    Strategy,
)
from stackd.core.rollout import rolling
from stackd.core.rollout.common import (
    STORE_EVERY,
    TOTAL,
    Observed,
    Step,
    awake,
    pause_left,
    resting,
)


@dataclass(frozen=True)
class _Scene:
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
        self, state: Rollout, weights: Mapping[str, int], reason: str, wake: float | None = None
    ) -> Step:
        """Stable whole, the target as large as its step wants it."""
        seen = self.observed
        new = seen.tally(seen.target)
        room = max(new.wanted, seen.wanted - (new.live - new.wanted))  # what ends takes room
        counts = {seen.stable: seen.wanted, seen.target: min(self.tasks(state.step), room)}
        told = "takes over"
        if state.step < len(self.steps):
            number = f"step {state.step + 1} of {len(self.steps)}: "
            reason, told = number + reason, number + self.steps[state.step].words
        counts = {revision: count for revision, count in counts.items() if count}
        wake = wake or seen.tally(seen.target).next_available
        return Step(state, counts, wake, reason, weights, told=told)

    def leaving(self) -> dict[str, int]:
        """The tasks that are there of what is to go, none anew."""
        seen = self.observed
        return {r: min(seen.counts.get(r, 0), seen.tally(r).wanted) for r in seen.revisions}


def step(
    steps: Sequence[RolloutStep], policy: Strategy, state: Rollout, observed: Observed, now: float
) -> Step:
    """The next counts and weights of a change to `observed.target` by these steps."""
    if not observed.stable:
        return rolling.step(policy, state, observed, now)
    state = msgspec.structs.replace(state, updated=observed.tally(observed.target).available)
    scene = _Scene(steps, policy, observed, now)
    if observed.target == observed.stable:
        return _back(scene, state)
    if any(observed.existing(r) for r in observed.revisions if r != observed.stable):
        return _clear(scene, state)
    return _forward(scene, state)


def _back(scene: _Scene, state: Rollout) -> Step:
    """Traffic leaves all other revisions first, at once; then their tasks go."""
    seen = scene.observed
    others = [r for r in seen.revisions if seen.existing(r)]
    served = seen.tally(seen.target).ready or not any(seen.tally(r).ready for r in others)
    weights = {seen.target: TOTAL} if served or not seen.weights else seen.weights
    moved = served and seen.applied and seen.weights == weights
    kept = {} if moved else scene.leaving()
    counts = {r: n for r, n in {**kept, seen.target: seen.wanted}.items() if n}
    reason = f"{sum(map(seen.existing, others))} tasks of what is left have still to end"
    if not moved:
        waits = "every node gives it" if served else "a task of it is there for"
        reason = f"{seen.target} gets all traffic: waits until {waits}"
    wake = seen.tally(seen.target).next_available
    return Step(state, counts, wake, reason, weights, done=seen.complete)


def _clear(scene: _Scene, state: Rollout) -> Step:
    """What neither the old nor the new revision is gets no more traffic, and goes first."""
    seen = scene.observed
    weights = {seen.stable: TOTAL}
    moved = seen.applied and seen.weights == weights
    kept = {} if moved else scene.leaving()
    new = min(seen.counts.get(seen.target, 0), seen.wanted)
    counts = {**kept, seen.stable: seen.wanted, seen.target: new}
    others = ", ".join(r for r in seen.revisions if r != seen.stable)
    reason = f"{others} leaves first"
    return Step(state, {r: n for r, n in counts.items() if n}, None, reason, weights)


def _forward(scene: _Scene, state: Rollout) -> Step:
    seen = scene.observed
    if seen.proven or state.full or not seen.wanted:
        state = passed(state, scene.policy, len(scene.steps), scene.now)
    while state.step < len(scene.steps):
        current = scene.steps[state.step]
        if not isinstance(current, Pause):
            state = awake(state)  # the steps may have been changed while it paused
        found = _current(scene, current, state)
        if found is not None:
            return found
        state = passed(state, scene.policy, state.step + 1, scene.now)
    return _take_over(scene, awake(state))


def passed(state: Rollout, policy: Strategy, number: int, now: float) -> Rollout:
    """The rollout at step `number`, with the whole time for it to make progress."""
    if state.step == number:
        return state
    return msgspec.structs.replace(
        awake(state),
        step=number,
        moved=now,
        deadline_left=policy.progress_deadline,
    )


def _current(scene: _Scene, current: RolloutStep, state: Rollout) -> Step | None:
    """What the current step still needs; None when it is done."""
    match current:
        case SetWeight(weight=weight):
            return _grown(scene, state, current) or _moved(scene, state, weight)
        case SetScale():
            return _grown(scene, state, current)
        case Pause():
            begins = None if resting(state) else _grown(scene, state, current)
            return begins or _paused(scene, state, current)
        case SetMatch() | SetMirror() | Analyse():
            return None
        case never:
            assert_never(never)


def _grown(scene: _Scene, state: Rollout, current: RolloutStep) -> Step | None:
    """Not enough tasks yet."""
    need = scene.tasks(state.step)
    if scene.in_place >= need:
        return None
    reason = f"{current.words}, {scene.in_place} of {need} tasks are in place"
    return scene.answer(state, scene.weights, reason)


def _moved(scene: _Scene, state: Rollout, weight: int) -> Step | None:
    """Not every node has applied the weight yet."""
    wanted = scene.shared(weight)
    if scene.observed.applied and scene.observed.weights == wanted:
        return None
    reason = f"set_weight {weight / 100:g}%, waits until every node has applied it"
    return scene.answer(state, wanted, reason)


def _paused(scene: _Scene, state: Rollout, current: Pause) -> Step | None:
    """The pause is not over; its time is written down when it begins and every 5 s."""
    if not current.seconds:
        waiting = msgspec.structs.replace(state, waits=True, pause_left=0, pause_at=0)
        return scene.answer(waiting, scene.weights, current.words)
    now = scene.now
    if not state.pause_at:
        state = msgspec.structs.replace(
            state, pause_left=current.seconds, pause_at=now, waits=False
        )
    rest = pause_left(state, now)
    if rest <= 0:
        return None
    if not 0 <= now - state.pause_at < STORE_EVERY:
        state = msgspec.structs.replace(state, pause_left=rest, pause_at=now)
    return scene.answer(state, scene.weights, current.words, now + rest)


def _take_over(scene: _Scene, state: Rollout) -> Step:
    """All steps are done: the target grows to full size and gets all traffic."""
    seen = scene.observed
    if scene.in_place < seen.wanted:
        reason = f"{scene.in_place} of {seen.wanted} tasks are in place to take over"
        return scene.answer(state, scene.weights, reason)
    weights = {seen.target: TOTAL}
    done = seen.applied and seen.weights == weights and not seen.blocked
    reason = "takes over: waits until every node has applied it"
    return replace(scene.answer(state, weights, reason), done=done)
