"""What the strategies with steps share: the new revision grows beside the old one, which stays
whole; weights move when every node has applied what was before; then the new one takes over.

Called by `canary`, `bluegreen`, `shadow` and `ab` with their steps. A first rollout has nothing
beside which it could grow and goes as rolling; one to a revision that has run in full before skips
the steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import msgspec

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
)
from stackd.core.model.traffic import TOTAL
from stackd.core.rollout import gates, rolling, waiting
from stackd.core.rollout.common import UNSTEERED, Observed, Step, awake
from stackd.core.rollout.pauses import halted
from stackd.core.rollout.scene import Scene

_APPLIED = "waits until every node has applied it"


def step(
    steps: Sequence[RolloutStep], policy: Strategy, state: Rollout, observed: Observed, now: float
) -> Step:
    """The next counts and weights of a change to `observed.target` by these steps."""
    if not observed.stable:
        return rolling.step(policy, state, observed, now)
    state = msgspec.structs.replace(state, updated=observed.tally(observed.target).available)
    scene = Scene(steps, policy, observed, now)
    if observed.target == observed.stable:
        return _back(scene, state)
    if any(observed.existing(r) for r in observed.revisions if r != observed.stable):
        return _clear(scene, state)
    return _forward(scene, state)


def _back(scene: Scene, state: Rollout) -> Step:
    """Traffic leaves all other revisions first, at once; then their tasks go."""
    seen = scene.observed
    others = [r for r in seen.revisions if seen.existing(r)]
    served = seen.tally(seen.target).ready or not any(seen.tally(r).ready for r in others)
    weights = {seen.target: TOTAL} if served or not seen.weights else seen.weights
    moved = served and seen.applied and (seen.weights, seen.steering) == (weights, UNSTEERED)
    kept = {} if moved else scene.leaving()
    counts = {r: n for r, n in {**kept, seen.target: seen.wanted}.items() if n}
    left = sum(map(seen.existing, others))
    ending = "1 task of what is left has" if left == 1 else f"{left} tasks of what is left have"
    reason = f"{ending} still to end"
    if not served or any(counts.get(r) for r in others):
        waits = "every node gives it" if served else "a task of it is there for"
        reason = f"{seen.target} gets all traffic: waits until {waits}"
    wake = seen.tally(seen.target).next_available
    return Step(state, counts, wake, reason, weights, done=seen.complete)


def _clear(scene: Scene, state: Rollout) -> Step:
    """What neither the old nor the new revision is gets no more traffic, and goes first."""
    seen = scene.observed
    weights = {seen.stable: TOTAL}
    moved = seen.applied and (seen.weights, seen.steering) == (weights, UNSTEERED)
    kept = {} if moved else scene.leaving()
    new = min(seen.counts.get(seen.target, 0), seen.wanted)
    counts = {**kept, seen.stable: seen.wanted, seen.target: new}
    others = ", ".join(r for r in seen.revisions if r != seen.stable)
    reason = f"{others} leaves first"
    return Step(state, {r: n for r, n in counts.items() if n}, None, reason, weights)


def _forward(scene: Scene, state: Rollout) -> Step:
    seen = scene.observed
    if seen.proven:
        state = msgspec.structs.replace(state, full=True)
    if state.full or not seen.wanted:
        state = passed(state, scene.policy, len(scene.steps), scene.now)
    state = found_again(scene.steps, state)
    if scene.steps and not state.step and not seen.counts.get(seen.target):
        if (gate := gates.kept(state, seen, 0)) is not None:
            counts = {seen.stable: seen.wanted}
            return Step(gates.at(state), counts, None, gate.reason, scene.weights)
        state = gates.let_in(state, seen, 0)
    while state.step < len(scene.steps):
        current = scene.steps[state.step]
        found = _current(scene, current, in_step(state, current))
        if found is not None:
            return found
        if (held := _held(scene, state)) is not None:
            return held
        state = gates.let_in(state, seen, state.step + 1)
        state = passed(state, scene.policy, state.step + 1, scene.now)
    return _take_over(scene, awake(state))


def _held(scene: Scene, state: Rollout) -> Step | None:
    """Its step is done, but a gate has not confirmed the next, or its group is not there yet."""
    barrier, number = scene.observed.barrier, state.step + 1
    gate = gates.kept(state, scene.observed, number)
    if gate is not None and number <= len(scene.steps):
        return scene.answer(gates.at(state), scene.weights, f"done, {gate.reason}")
    if barrier is None or barrier.step >= number:
        return None
    waiting_ = msgspec.structs.replace(gates.let_in(state, scene.observed, number), arrived=number)
    return scene.answer(waiting_, scene.weights, f"done, {barrier.reason}")


def found_again(steps: Sequence[RolloutStep], state: Rollout) -> Rollout:
    """The rollout where it waits, when an edit of the steps has moved that: it would go past what
    it waits for."""
    number = state.step
    if not halted(state) or (number < len(steps) and isinstance(steps[number], Pause | Analyse)):
        return state
    before = (at for at in range(min(number, len(steps))) if isinstance(steps[at], Pause | Analyse))
    found = max(before, default=None)
    return state if found is None else msgspec.structs.replace(awake(state), step=found)


def in_step(state: Rollout, current: RolloutStep) -> Rollout:
    """The rollout in its current step, which may have been changed while it was in it."""
    match current:
        case Pause():
            return msgspec.structs.replace(state, judges=False)
        case Analyse(seconds=seconds):
            return state if seconds else msgspec.structs.replace(state, pause_left=0, pause_at=0)
        case _:
            return awake(state)


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


def _current(scene: Scene, current: RolloutStep, state: Rollout) -> Step | None:
    """What the current step still needs; None when it is done."""
    match current:
        case SetWeight(weight=weight):
            less = scene.weights.get(scene.observed.target, 0) > weight
            begins = None if less else _grown(scene, state, current)
            return begins or _moved(scene, state, current, scene.shared(weight))
        case SetMatch() | SetMirror():
            begins = _grown(scene, state, current)
            return begins or _moved(scene, state, current, scene.weights)
        case SetScale():
            return _grown(scene, state, current)
        case Pause():
            begins = None if halted(state) else _grown(scene, state, current)
            return begins or waiting.paused(scene, state, current)
        case Analyse():
            begins = None if state.judges else _grown(scene, state, current)
            return begins or waiting.judged(scene, state, current)
        case never:
            assert_never(never)


def _grown(scene: Scene, state: Rollout, current: RolloutStep) -> Step | None:
    """Not enough tasks yet."""
    need = scene.tasks(state.step)
    steered = scene.observed.steering == scene.steered(state.step)
    if scene.in_place >= need and steered:
        return None
    ready = scene.observed.tally(scene.observed.target).available
    waits = _APPLIED if ready >= need else f"{ready} of {need} tasks are in place"
    return scene.answer(state, scene.weights, f"{current.words}, {waits}")


def _moved(
    scene: Scene, state: Rollout, current: RolloutStep, weights: Mapping[str, int]
) -> Step | None:
    """Not every node has applied yet what the current step sets."""
    seen, steering = scene.observed, scene.steering(state.step + 1)
    if seen.applied and (seen.weights, seen.steering) == (weights, steering):
        return None
    return scene.answer(state, weights, f"{current.words}, {_APPLIED}", steering=steering)


def _take_over(scene: Scene, state: Rollout) -> Step:
    """All steps are done: the target grows to full size and gets all traffic."""
    seen = scene.observed
    if scene.in_place < seen.wanted:
        ready = seen.tally(seen.target).available
        reason = f"{ready} of {seen.wanted} tasks are in place to take over"
        reason = f"takes over: {_APPLIED}" if ready >= seen.wanted else reason
        over = UNSTEERED if seen.weights == {seen.target: TOTAL} else None
        return scene.answer(state, scene.weights, reason, steering=over)
    weights = {seen.target: TOTAL}
    applied = seen.applied and (seen.weights, seen.steering) == (weights, UNSTEERED)
    reason = f"takes over: {_APPLIED}"
    found = scene.answer(state, weights, reason, steering=UNSTEERED)
    done = applied and not seen.blocked
    return (_held(scene, state) if done else None) or replace(found, done=done)
