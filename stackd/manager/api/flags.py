"""Feature toggles: `flag ls`, `flag set`, and their rows in `status`."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stackd.core.model.api import FlagRequest, FlagRow, FlagRows, NameRequest, Text
from stackd.core.model.event import Event
from stackd.core.model.node import NodeReport
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Release, Stack
from stackd.core.model.rollout import RolloutPhase, ToggleState
from stackd.core.model.times import rfc3339
from stackd.core.model.toggle import WHOLE, Toggle, ToggleOverride, in_effect
from stackd.core.model.world import World
from stackd.core.rollout import places
from stackd.core.rollout.phase import service_phase
from stackd.errors import Unknown
from stackd.manager.api import names, underway
from stackd.manager.loop import Context
from stackd.wire.control import Caller

STALE = 30 * 86400.0
"""Seconds after which a toggle that reaches everybody or nobody is one to be taken out."""
UNUSED = 7 * 86400.0
"""Seconds after which a toggle that no task has asked for is one that nothing knows."""


class FlagApi:
    """Handlers about toggles."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tables = context.tables

    async def list(self, request: NameRequest, caller: Caller) -> FlagRows:
        """Those of everything, a stack or a service."""
        world, now = self._tables.world, self._context.clock.now()
        stack, _, service = request.name.partition("/")
        if service:
            names.service_of(world, request.name)
        heads = [names.stack_of(world, stack)] if stack else [*world.all(Stack)]
        rows = (row for head in heads for row in flag_rows(world, head.name, now, service))
        return FlagRows(flags=tuple(rows))

    async def set(self, request: FlagRequest, caller: Caller) -> Text:
        """Store a share set by hand, or end it."""
        world = self._tables.world
        place, _, name = request.name.rpartition("/")
        stack, service = names.service_of(world, place)
        spec = world.declared(stack, service)
        toggle = spec.features.get(name) if spec else None
        if toggle is None:
            raise Unknown(f"{place} declares no toggle {name}.", f"See: stackd flag ls {place}")
        declared = request.share is None or request.share == toggle.share
        override = ToggleOverride(
            stack=stack,
            service=service,
            feature=name,
            share=toggle.share if request.share is None else request.share,
            declared=toggle.share,
            by=caller.principal,
            at=self._context.clock.now(),
        )
        change = Delete(ref=ref(ToggleOverride, override.key)) if declared else Put(record=override)
        of = f"the declared {toggle.share / 100:g}%"
        text = (
            f"{request.name} is back at {of}."
            if declared
            else f"{request.name}: {override.share / 100:g}% instead of {of}."
        )
        event = Event(
            id=next(self._context.ids),
            at=override.at,
            kind="flag.set",
            object=place,
            principal=caller.principal,
            text=text,
        )
        relies = (ref(Stack, stack),)
        changes = Changes(changes=(change, Put(record=event)), relies=relies)
        await self._tables.commit(changes, self._context.fence)
        return Text(text=text)


def flag_rows(world: World, stack: str, now: float, only: str = "") -> Iterator[FlagRow]:
    """The toggles that the current release of a stack declares; of one service with `only`."""
    release = world.release(stack)
    for service, part in sorted(release.services.items()) if release else ():
        if only and service != only:
            continue
        for name, toggle in sorted(part.spec.features.items()):
            yield _row(world, (stack, service, name), toggle, now)


def _row(world: World, place: tuple[str, str, str], toggle: Toggle, now: float) -> FlagRow:
    stack, service, name = place
    override = world.get(ToggleOverride, "/".join(place))
    holds = override is not None and override.declared == toggle.share
    acts = in_effect(toggle, override)
    staged = _staged(world, place, now)
    state = world.get(ToggleState, "/".join(place))
    if state is not None and not holds:
        acts = msgspec.structs.replace(toggle, share=state.share)
    since = _since(world, place, toggle)
    reports = [*world.all(NodeReport)]
    asked = max((r.asked.get("/".join(place), 0.0) for r in reports), default=0.0)
    heard_since = max((r.began or now for r in reports), default=now)
    settled = acts.share in (0, WHOLE) and not toggle.rules and not holds
    return FlagRow(
        stack=stack,
        service=service,
        feature=name,
        share=acts.share,
        declared=toggle.share,
        value=toggle.value,
        otherwise=toggle.otherwise,
        rules=tuple(
            f"{r.attribute} is {' or '.join(r.any_of)}: {r.share / 100:g}%" for r in toggle.rules
        ),
        override={"share": override.share, "by": override.by, "at": rfc3339(override.at)}
        if override is not None and holds
        else None,
        since=rfc3339(since),
        asked=rfc3339(asked),
        stale=settled and now - since > STALE,
        unused=now - max(since, asked, heard_since) > UNUSED,
        **staged,
    )


def _staged(world: World, place: tuple[str, str, str], now: float) -> Mapping[str, Any]:
    """The way of a toggle with stages to its declared share, as fields of its row."""
    stack, service, name = place
    part = places.declared(world.release(stack), f"{service}/{name}")
    if part is None:
        return {}
    steps = tuple(step.words for step in part.spec.strategy.steps)
    phase, reason = service_phase(world, stack, f"{service}/{name}", now)
    state = world.get(ToggleState, "/".join(place))
    rollout = state.rollout if state is not None else None
    done = rollout is None or rollout.phase is RolloutPhase.COMPLETE
    return {
        "steps": steps,
        "step": len(steps) if rollout is None or done else min(rollout.step, len(steps) - 1),
        "phase": phase.value,
        "reason": reason,
        "rollout": underway.rollout_row(world, state, now) if state is not None else None,
        "analyses": tuple(underway.analysis_rows(world, state)) if state is not None else (),
    }


def _since(world: World, place: tuple[str, str, str], toggle: Toggle) -> float:
    """Since when it has been declared just so: of the kept releases up to the current one."""
    stack, service, name = place
    current = world.release(stack)
    assert current is not None, "only what a release declares has a row"
    found = current.at
    kept = [r for r in world.all(Release) if r.stack == stack and r.number <= current.number]
    for release in sorted(kept, key=lambda r: -r.number):
        part = release.services.get(service)
        if part is None or part.spec.features.get(name) != toggle:
            break
        found = release.at
    return found
