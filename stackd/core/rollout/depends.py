"""Whether what a service depends on is there: orders changes within one release.

Called by `service` before a rollout starts.
"""

from dataclasses import dataclass

from stackd.core.model.ids import service_key
from stackd.core.model.release import Hold, Release
from stackd.core.model.rollout import RolloutPhase, ServiceState
from stackd.core.model.stack import DependsOn, ServiceSpec
from stackd.core.model.world import World
from stackd.core.rollout.observing import observe


@dataclass(frozen=True)
class Gate:
    """Why a rollout may not start yet; `failed` when the dependency's own rollout has failed."""

    reason: str
    failed: bool = False


def gate(world: World, release: Release, spec: ServiceSpec, now: float) -> Gate | None:
    """The first dependency that is not there yet, or None when all are."""
    for name, condition in sorted(spec.depends_on.items()):
        found = _one(world, release, name, condition, now)
        if found is not None:
            return found
    return None


def _one(
    world: World, release: Release, name: str, condition: DependsOn, now: float
) -> Gate | None:
    wanted = release.services.get(name)
    if wanted is None:
        return None
    state = world.get(ServiceState, service_key(release.stack, name))
    if state is None:
        return Gate(f"waits for {name}, which has not started")
    if state.stable == wanted.revision:
        return None
    rollout = state.rollout
    hold = world.get(Hold, f"{release.stack}/{name}/{wanted.revision}")
    if hold is not None or (rollout is not None and rollout.phase is RolloutPhase.FAILED):
        why = hold.reason if hold else rollout.reason if rollout else ""
        return Gate(f"waits for {name}, whose rollout failed: {why}", failed=True)
    if condition is DependsOn.STARTED:
        observed = observe(world, release.stack, wanted.spec, state, wanted.revision, now)
        tally = observed.tally(wanted.revision)
        if max(tally.running, tally.available) >= observed.wanted:
            return None
        return Gate(f"waits for {name} to be started: {tally.running} of {observed.wanted} run")
    reason = rollout.reason if rollout and rollout.target == wanted.revision else "not begun"
    return Gate(f"waits for the rollout of {name}: {reason}")
