"""Rollout groups: services of a stack whose rollouts go from step to step together, and of which
none takes over unless all can.

A service that has done a step notes where it could go on (`Rollout.arrived`) and waits until all
that still move have got as far; one that fails takes the others of its release back. Called by
`look`, `service` and `commands`.
"""

from collections.abc import Sequence

from stackd.core.model.ids import service_key
from stackd.core.model.release import Hold, Release
from stackd.core.model.rollout import Rollout, RolloutPhase, ServiceState
from stackd.core.model.world import World
from stackd.core.rollout.common import Barrier
from stackd.core.rollout.pauses import ACTIVE

_BACK = (RolloutPhase.ROLLING_BACK, RolloutPhase.ABORTED, RolloutPhase.FAILED)


def others(release: Release, service: str) -> Sequence[str]:
    """The services in the group of this one."""
    declared = release.services.get(service)
    group = declared.spec.strategy.group if declared else ""
    return sorted(
        name
        for name, other in release.services.items()
        if group and name != service and other.spec.strategy.group == group
    )


def barrier(world: World, release: Release, service: str) -> Barrier | None:
    """How far a service may go now; None when nothing of its group holds it."""
    places = {name: _reached(world, release, name) for name in others(release, service)}
    found = {name: at for name, at in places.items() if at is not None}
    if not found:
        return None
    last = min(found.values())
    behind = ", ".join(name for name, at in found.items() if at == last)
    group = release.services[service].spec.strategy.group
    return Barrier(last, f"waits for {behind} of group {group}")


def _reached(world: World, release: Release, name: str) -> int | None:
    """The furthest step that a service may enter by itself; None when it does not move: it is
    there, refused, on its way back, or has nothing to go from."""
    state = world.get(ServiceState, service_key(release.stack, name))
    if state is None or state.stable is None or _refused(world, release, name):
        return None
    rollout, declared = state.rollout, release.services[name].revision
    if rollout is None or rollout.phase not in ACTIVE or rollout.target != declared:
        return None if state.stable == declared else 0
    if rollout.phase is RolloutPhase.ROLLING_BACK:
        return None
    return max(rollout.step, rollout.arrived)


def _refused(world: World, release: Release, name: str) -> Hold | None:
    key = f"{service_key(release.stack, name)}/{release.services[name].revision}"
    return world.get(Hold, key)


def verdict(world: World, release: Release, service: str, rollout: Rollout) -> str:
    """Why a rollout has to go back with its group; '' when it has not."""
    declared = release.services.get(service)
    if declared is None or rollout.target != declared.revision:
        return ""
    for name in others(release, service):
        hold = _refused(world, release, name)
        if hold is not None and _of_release(world, release, name, rollout):
            group = declared.spec.strategy.group
            return f"{name} of group {group} is refused: {hold.reason}"
    return ""


def _of_release(world: World, release: Release, name: str, rollout: Rollout) -> bool:
    """The rollout of `name` has gone back, and began with the same release."""
    state = world.get(ServiceState, service_key(release.stack, name))
    other = state.rollout if state else None
    return (
        other is not None
        and other.phase in _BACK
        and other.release == rollout.release
        and other.target == release.services[name].revision
    )


def beside(world: World, release: Release, service: str, step: int | None) -> Sequence[str]:
    """Those of the group that go forward now and are at `step`; None = at any."""
    found = []
    for name in others(release, service):
        state = world.get(ServiceState, service_key(release.stack, name))
        rollout = state.rollout if state else None
        if rollout is None or rollout.phase is not RolloutPhase.PROGRESSING or not rollout.source:
            continue
        if step is None or rollout.step == step:
            found.append(name)
    return found


def refused_with(world: World, release: Release, service: str, rollout: Rollout) -> Sequence[str]:
    """Those of the group that were refused with this rollout."""
    return [
        name
        for name in others(release, service)
        if _refused(world, release, name) and _of_release(world, release, name, rollout)
    ]
