"""Gates: webhooks of the analysis beside all steps, which must confirm before each of them.

A confirmation lets the rollout enter one step: it counts when it was given after the rollout moved
last, and for that step. Called by `look` for what strategies see, by `weighted` and `staged` when a
step is done, by `asked` for what gates are told.
"""

import msgspec

from stackd.core.model.analysis import Analysis, CheckKind, CheckOutcome, CheckState
from stackd.core.model.rollout import Rollout, ServiceState
from stackd.core.model.strategy import Strategy
from stackd.core.model.world import World
from stackd.core.rollout import answers
from stackd.core.rollout.common import Gate, Observed


def of(world: World, state: ServiceState, policy: Strategy) -> Gate | None:
    """The gates of the service's rollout as one; None where there are none."""
    rollout, beside = state.rollout, policy.analysis
    if beside is None or rollout is None or rollout.source is None:
        return None
    names = [check.name for check in beside.checks if check.kind is CheckKind.WEBHOOK]
    if not names:
        return None
    known, number = _answers(world, state, rollout), upcoming(state, rollout) + 1
    for name in names:
        found = known.get(name)
        if found is not None and found.step not in (0, number):
            found = None
        if found is None or found.outcome is not CheckOutcome.PASS:
            said = f": {found.text}" if found is not None and found.text else ""
            return Gate(0, f"waits for {name} to confirm{said}")
    oldest = min(names, key=lambda name: known[name].at)
    return Gate(known[oldest].at, f"waits for {oldest} to confirm it")


def upcoming(state: ServiceState, rollout: Rollout) -> int:
    """The step, from 0, that gates are asked to let the rollout enter."""
    begun = rollout.step or rollout.confirmed or state.counts.get(rollout.target)
    return rollout.step + 1 if begun else 0


def _answers(world: World, state: ServiceState, rollout: Rollout) -> dict[str, CheckState]:
    record = world.get(Analysis, state.key)
    if record is None or record.rollout != rollout.id:
        return {}
    run = record.runs.get(answers.place(0, answers.BACKGROUND, rollout.attempt))
    return dict(run.state.checks) if run is not None else {}


def kept(state: Rollout, seen: Observed, number: int) -> Gate | None:
    """The gate that does not let the rollout enter step `number` (from 0) yet."""
    gate = seen.gate
    if gate is None or state.full or state.confirmed > number or gate.since > state.moved:
        return None
    return gate


def at(state: Rollout) -> Rollout:
    """The rollout that waits at a gate."""
    return msgspec.structs.replace(state, gated=True)


def let_in(state: Rollout, seen: Observed, number: int) -> Rollout:
    """The rollout that may enter step `number`."""
    if seen.gate is None or state.confirmed > number:
        return state
    return msgspec.structs.replace(state, gated=False, confirmed=number + 1)
