"""`history`: the kept releases of a stack and what became of each."""

from collections.abc import Sequence

from stackd.core.model.api import HistoryRow, HistoryRows, NameRequest
from stackd.core.model.release import Hold, Release, Stack
from stackd.core.model.rollout import RolloutPhase
from stackd.core.model.times import rfc3339
from stackd.core.model.world import World
from stackd.core.rollout import places
from stackd.manager.api import names
from stackd.store.tables import Tables
from stackd.wire.control import Caller


class HistoryApi:
    """Handlers about releases."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def history(self, request: NameRequest, caller: Caller) -> HistoryRows:
        """Releases of a stack, newest first."""
        world = self._tables.world
        head = names.stack_of(world, request.name)
        releases = [r for r in world.all(Release) if r.stack == head.name]
        return HistoryRows(
            releases=tuple(_row(world, head, r) for r in reversed(releases)),
        )


def _row(world: World, head: Stack, release: Release) -> HistoryRow:
    return HistoryRow(
        release=release.number,
        commit=release.commit,
        at=rfc3339(release.at),
        by=release.by,
        state=_state(world, head, release),
        services={name: part.revision for name, part in sorted(release.services.items())},
    )


def _state(world: World, head: Stack, release: Release) -> str:
    """current | progressing for the declared release, replaced for older ones; failed or
    rolled_back, for either, where something that it declares is refused; rolled_back for those
    that the stack has left by going back."""
    if release.number > head.release:
        return "rolled_back"
    parts = [
        one for name in release.services for one in (name, *places.toggles(world, head.name, name))
    ]
    refused = _refused(world, release, parts)
    if release.number < head.release:
        return refused or "replaced"
    phases = [phase for name in parts if (phase := _phase(world, release, name)) is not None]
    bad = (RolloutPhase.ABORTED, RolloutPhase.FAILED, RolloutPhase.ROLLING_BACK)
    if any(phase in bad for phase in phases):
        return "failed"
    if any(phase is not RolloutPhase.COMPLETE for phase in phases):
        return "progressing"
    return refused or "current"


def _phase(world: World, release: Release, name: str) -> RolloutPhase | None:
    """Of the last rollout of a part of the current release; None where that went elsewhere and
    failed, so that what is declared runs."""
    state, part = places.state_of(world, f"{release.stack}/{name}"), places.declared(release, name)
    rollout = state.rollout if state is not None else None
    if state is None or rollout is None:
        return None
    over = rollout.phase in (RolloutPhase.ABORTED, RolloutPhase.FAILED)
    elsewhere = part is not None and part.revision == state.stable != rollout.target
    return None if over and elsewhere else rollout.phase


def _refused(world: World, release: Release, parts: Sequence[str]) -> str:
    """failed when a revision that it declares is on hold and has never run in full, rolled_back
    when all that are on hold have; '' when none is."""
    found = ""
    for name in parts:
        part, key = places.declared(release, name), f"{release.stack}/{name}"
        if part is None or world.get(Hold, f"{key}/{part.revision}") is None:
            continue
        state = places.state_of(world, key)
        if state is None or part.revision not in state.proven:
            return "failed"
        found = "rolled_back"
    return found
