"""What a name below a stack stands for: a service, or `SERVICE/TOGGLE`, a toggle with stages.

A toggle is declared and kept in the shapes of a service, so that whoever leads rollouts, asks
something of them or tells of them need not know which it is. Called by `commands`, `growing`,
`outcome`, `phase` and the loops that look at rollouts.
"""

from msgspec.structs import replace

from stackd.core.model.container import ContainerSpec
from stackd.core.model.release import Release, ServiceRelease
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.stack import DependsOn, ServiceSpec
from stackd.core.model.strategy import OnFailure
from stackd.core.model.world import World
from stackd.core.rollout.staged import named


def declared(release: Release | None, name: str) -> ServiceRelease | None:
    """What a release says of it. A toggle waits for the rollout of its service: what it switches
    on may be what that brings."""
    service, slash, feature = name.partition("/")
    found = release.services.get(service) if release is not None else None
    if found is None or not slash:
        return found
    policy = found.spec.stages.get(feature)
    if policy is None:
        return None
    spec = ServiceSpec(
        name=name,
        container=ContainerSpec(image=""),
        strategy=policy,
        rollback=replace(policy, on_failure=OnFailure.PAUSE),
        depends_on={service: DependsOn.HEALTHY},
    )
    return ServiceRelease(spec=spec, revision=named(found.spec.features[feature].share))


def state_of(world: World, key: str) -> ServiceState | None:
    """The state at `STACK/SERVICE` or `STACK/SERVICE/TOGGLE`."""
    return world.get(ToggleState if key.count("/") == 2 else ServiceState, key)


def toggles(world: World, stack: str, service: str) -> list[str]:
    """`SERVICE/TOGGLE` of each toggle with stages, and of those that had such."""
    release = world.release(stack)
    found = release.services.get(service) if release is not None else None
    names = {f"{service}/{feature}" for feature in (found.spec.stages if found else ())}
    if world.count(ToggleState):
        mine = (s for s in world.all(ToggleState) if s.stack == stack)
        names |= {s.service for s in mine if s.service.startswith(f"{service}/")}
    return sorted(names)
