"""The rollout of a service and its analyses, as `status` shows them. Called by `status`."""

from collections.abc import Iterator

from stackd.core.analysis import variants
from stackd.core.model.analysis import Analysis, Run
from stackd.core.model.api import AnalysisRow, RolloutRow, VariantsRow
from stackd.core.model.event import Event
from stackd.core.model.rollout import Rollout, ServiceState
from stackd.core.model.strategy import Analyse
from stackd.core.model.times import rfc3339
from stackd.core.model.traffic import Steering
from stackd.core.model.world import World
from stackd.core.rollout import places, steps
from stackd.core.rollout.pauses import ACTIVE, pause_left


def rollout_row(world: World, state: ServiceState, now: float) -> RolloutRow | None:
    """Where the service's rollout stands; None when it never had one."""
    rollout = state.rollout
    if rollout is None:
        return None
    active = rollout.phase in ACTIVE
    rest = max(0.0, pause_left(rollout, now)) if active else 0.0
    return RolloutRow(
        target=rollout.target,
        source=rollout.source or "",
        phase=rollout.phase.value,
        started=rfc3339(rollout.started),
        by=rollout.by,
        release=rollout.release,
        commit=rollout.commit,
        waits_for=_waits_for(world, state, rollout, rest) if active else "",
        pause_left=round(rest, 1),
        promoted=tuple(_promoted(world, state.key, rollout)) if rollout.source else (),
        steering=tuple(_steering(state.steering)) if active else (),
    )


def _waits_for(world: World, state: ServiceState, rollout: Rollout, rest: float) -> str:
    if rollout.stands:
        return ""
    if rollout.waits:
        return "person"
    if rest > 0:
        return "time"
    part = places.declared(world.release(state.stack), state.service)
    todo = steps.of(part.spec.strategy) if part is not None and rollout.source else ()
    current = todo[rollout.step] if rollout.step < len(todo) else None
    return "analysis" if isinstance(current, Analyse) else ""


def _promoted(world: World, key: str, rollout: Rollout) -> Iterator[str]:
    for event in world.all(Event):
        here = event.object == key and event.at >= rollout.started
        if here and event.kind == "rollout.promoted":
            yield f"{event.principal} at {rfc3339(event.at)}"


def _steering(steering: Steering) -> Iterator[str]:
    """What is there of it, in words."""
    if steering.matched and steering.matches:
        words = " or ".join(matcher.words for matcher in steering.matches)
        yield f"{words} to {steering.matched}"
    if steering.mirrored and steering.mirror:
        yield f"{steering.mirror / 100:g}% mirrored to {steering.mirrored}"
    if steering.previewed and steering.preview is not None:
        preview = steering.preview
        place = f"host {preview.host}" if preview.host else f"port {preview.published}"
        yield f"{place} to {steering.previewed}"
    if steering.sticky:
        yield "the weights share out users, each keeps its revision"


def analysis_rows(world: World, state: ServiceState) -> Iterator[AnalysisRow]:
    """The analyses of the rollout that `rollout_row` shows, those of steps in their order."""
    found = world.get(Analysis, state.key)
    if found is None or state.rollout is None or found.rollout != state.rollout.id:
        return
    for place, run in sorted(found.runs.items(), key=lambda item: (len(item[0]), item[0])):
        yield _analysis(place, run)


def variants_row(world: World, state: ServiceState) -> VariantsRow | None:
    """What both sides of the rollout that `rollout_row` shows did; None unless it is A/B."""
    found, rollout = world.get(Analysis, state.key), state.rollout
    if found is None or rollout is None or found.rollout != rollout.id or not found.variants:
        return None
    return variants.shown(found.variants, rollout.source or "", rollout.target)


def _analysis(place: str, run: Run) -> AnalysisRow:
    said, known = run.judgement, run.state
    return AnalysisRow(
        place=place,
        verdict=(said.verdict if said else known.verdict).value,
        final=said.final if said else known.final,
        reason=said.reason if said else known.reason,
        at=rfc3339(run.at),
        canary_requests=known.canary_tally.requests,
        stable_requests=known.stable_tally.requests,
        requests_left=said.estimate.requests if said else None,
        seconds_left=said.estimate.seconds if said else None,
        readings=said.readings if said else (),
        checks={
            name: f"{check.outcome.value}: {check.text}" if check.text else check.outcome.value
            for name, check in sorted(known.checks.items())
        },
    )
