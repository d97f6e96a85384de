"""Staged: a feature toggle reaches more and more, step by step, up to the share it is declared
with.

The strategy of toggles, in the shape of all others: its revisions are shares, its weights say whom
the toggle reaches. It has no tasks, so that nothing waits but for nodes, time, people and analyses.
"""

from dataclasses import replace
from typing import assert_never

from stackd.core.model import fit
from stackd.core.model.ids import RevisionId
from stackd.core.model.rollout import Rollout, ToggleState
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
from stackd.core.model.traffic import TrafficEntry
from stackd.core.model.world import World
from stackd.core.rollout import answers, gates, waiting
from stackd.core.rollout.common import Observed, Step, awake
from stackd.core.rollout.scene import Scene
from stackd.core.rollout.weighted import found_again, in_step, passed

_APPLIED = "waits until every node has applied it"


def named(share: int) -> RevisionId:
    """A share as the revision of a toggle."""
    return RevisionId(f"{share / 100:g}%")


def observe(world: World, state: ToggleState, target: str) -> Observed:
    """What there is of a toggle, on the way to `target`."""
    return Observed(
        target=target,
        stable=state.stable or "",
        wanted=1,
        counts={},
        weights=dict(state.weights),
        applied=_applied(world, state),
        answers=answers.of(world, state),
        former=state.former,
    )


def _applied(world: World, state: ToggleState) -> bool:
    """Every node that is there answers with the share as it is wanted."""
    service, _, name = state.key.rpartition("/")
    entry = world.get(TrafficEntry, service)
    shown = entry.features.get(name) if entry is not None else None
    if shown is None or shown.share != state.share:
        return False
    written = world.rev(TrafficEntry.TABLE, service)
    reports = fit.carriers(world)
    return bool(reports) and all(report.applied >= written for report in reports)


def step(policy: Strategy, state: Rollout, observed: Observed, now: float) -> Step:
    """The next share of a toggle on its way to `observed.target`."""
    if observed.target == observed.stable:
        weights = ToggleState.reaching(observed.former)
        there = observed.applied and observed.weights == weights
        return Step(state, {}, None, f"{observed.stable}, {_APPLIED}", weights, done=there)
    todo = policy.steps
    seen = replace(observed, target=ToggleState.ON, stable=ToggleState.OFF)
    scene = Scene(todo, policy, seen, now)
    if state.full:
        state = passed(state, policy, len(todo) - 1, now)
    state = found_again(todo, state)
    if not state.step and (gate := gates.kept(state, seen, 0)) is not None:
        return Step(gates.at(state), {}, None, gate.reason, seen.weights)
    state = state if state.step else gates.let_in(state, seen, 0)
    while state.step < len(todo):
        current = todo[state.step]
        found = _current(scene, current, in_step(state, current))
        if found is None and state.step + 1 < len(todo):
            gate = gates.kept(state, seen, state.step + 1)
            if gate is not None:
                found = scene.answer(gates.at(state), seen.weights, f"done, {gate.reason}")
        if found is not None:
            return replace(found, counts={})
        state = gates.let_in(state, seen, state.step + 1)
        state = passed(state, policy, state.step + 1, now)
    return Step(awake(state), {}, None, "", observed.weights, done=True)


def _current(scene: Scene, current: RolloutStep, state: Rollout) -> Step | None:
    """What the current step still needs; None when it is done."""
    match current:
        case SetWeight(weight=weight):
            seen = scene.observed
            weights = ToggleState.reaching(max(weight, seen.former))
            if seen.applied and seen.weights == weights:
                return None
            return scene.answer(state, weights, f"{current.words}, {_APPLIED}")
        case Pause():
            return waiting.paused(scene, state, current)
        case Analyse():
            return waiting.judged(scene, state, current)
        case SetScale() | SetMatch() | SetMirror():
            return None  # a toggle has neither tasks nor requests of its own
        case never:
            assert_never(never)
