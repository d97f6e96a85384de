"""`history`: the kept releases of a stack and what became of each."""

from stackd.core.model.api import HistoryRow, HistoryRows, NameRequest
from stackd.core.model.release import Release, Stack
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
    """current | progressing | failed for the declared release, replaced for older ones,
    rolled_back for those that the stack has left by going back."""
    if release.number != head.release:
        return "replaced" if release.number < head.release else "rolled_back"
    known = [
        one for name in release.services for one in (name, *places.toggles(world, head.name, name))
    ]
    phases = [
        state.rollout.phase
        for name in known
        if (state := places.state_of(world, f"{head.name}/{name}")) is not None
        and state.rollout is not None
    ]
    bad = (RolloutPhase.ABORTED, RolloutPhase.FAILED, RolloutPhase.ROLLING_BACK)
    if any(phase in bad for phase in phases):
        return "failed"
    if any(phase is not RolloutPhase.COMPLETE for phase in phases):
        return "progressing"
    return "current"
