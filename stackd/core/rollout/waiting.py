"""Steps that wait: for a time, for a person, for an analysis.

Called by `weighted` when the tasks of such a step are in place.
"""

from dataclasses import replace
from typing import assert_never

import msgspec

from stackd.core.model.analysis import OnInconclusive, Verdict
from stackd.core.model.rollout import Rollout
from stackd.core.model.strategy import Analyse, Pause
from stackd.core.rollout import answers
from stackd.core.rollout.common import Step
from stackd.core.rollout.pauses import STORE_EVERY, pause_left
from stackd.core.rollout.scene import Scene


def paused(scene: Scene, state: Rollout, current: Pause) -> Step | None:
    """The pause is not over; its time is written down when it begins and every 5 s."""
    if not current.seconds:
        waiting = msgspec.structs.replace(state, waits=True, pause_left=0, pause_at=0)
        return scene.answer(waiting, scene.weights, current.words)
    state, rest = _timed(state, current.seconds, scene.now)
    if rest <= 0:
        return None
    return scene.answer(state, scene.weights, current.words, scene.now + rest)


def _timed(state: Rollout, seconds: float, now: float) -> tuple[Rollout, float]:
    """The rollout with the time of its step running, and what is left of it; that is written down
    when it begins and every 5 s."""
    if not state.pause_at:
        state = msgspec.structs.replace(state, pause_left=seconds, pause_at=now, waits=False)
    rest = max(pause_left(state, now), 0.0)
    if rest and not 0 <= now - state.pause_at < STORE_EVERY:
        state = msgspec.structs.replace(state, pause_left=rest, pause_at=now)
    return state, rest


def judged(scene: Scene, state: Rollout, current: Analyse) -> Step | None:
    """The analysis has not passed. What a failed one leads to is `service`'s."""
    state = msgspec.structs.replace(state, judges=True)
    at = answers.place(state.step, current.called, state.attempt)
    answer = scene.observed.answers.get(at)
    why = answer.reason if answer is not None else "no answer yet"
    verdict = answer.verdict if answer is not None else Verdict.INCONCLUSIVE
    final = answer is not None and answer.final
    if current.seconds:
        state, rest = _timed(state, current.seconds, scene.now)
        if rest:
            return scene.answer(state, scene.weights, _words(current, why), scene.now + rest)
        final = True
    if final and verdict is Verdict.PASS:
        return None
    if final and verdict is Verdict.INCONCLUSIVE:
        return _undecided(scene, state, current, why)
    state = msgspec.structs.replace(state, waits=False)
    return scene.answer(state, scene.weights, _words(current, why))


def _words(current: Analyse, why: str) -> str:
    return f"{current.words}: {why}" if why else current.words


def _undecided(scene: Scene, state: Rollout, current: Analyse, why: str) -> Step | None:
    """The time of the analysis is over and it has not passed."""
    words = f"{current.words} is inconclusive: {why}"
    match current.policy.on_inconclusive:
        case OnInconclusive.PROMOTE:
            return None
        case OnInconclusive.PAUSE:
            state = msgspec.structs.replace(state, waits=True)
            return scene.answer(state, scene.weights, words)
        case OnInconclusive.ABORT:
            return replace(scene.answer(state, scene.weights, words), failed=words)
        case never:
            assert_never(never)
