"""Published ports that a stack file leaves open: chosen once per service, 30000 to 32767.

Called by `allocate` (the allocator loop).
"""

from collections.abc import Collection, Mapping

from stackd.core.model.network import ServiceAddresses
from stackd.core.model.release import Stack
from stackd.core.model.stack import Port, ServiceSpec
from stackd.core.model.world import World
from stackd.core.network.ipam import Exhausted

FIRST = 30000
LAST = 32767


def name(port: Port) -> str:
    """The name of a target in `ServiceAddresses.ports`."""
    return f"{port.target}/{port.protocol.value}"


def taken(world: World) -> set[int]:
    """Published ports that are declared by a current release or were chosen."""
    declared = {
        port.published
        for stack in world.all(Stack)
        if (release := world.release(stack.name)) is not None
        for service in release.services.values()
        for port in service.spec.ports
        if port.published
    }
    previews = {
        service.spec.strategy.preview.published
        for stack in world.all(Stack)
        if (release := world.release(stack.name)) is not None
        for service in release.services.values()
        if service.spec.strategy.preview is not None and service.spec.strategy.preview.published
    }
    chosen = {p for entry in world.all(ServiceAddresses) for p in entry.ports.values()}
    return declared | previews | chosen


def choose(spec: ServiceSpec, have: Mapping[str, int], others: Collection[int]) -> dict[str, int]:
    """Ports for every target left open; those already chosen stay.

    Raises Exhausted when no port is left.
    """
    chosen: dict[str, int] = {}
    for port in spec.ports:
        if port.published:
            continue
        kept = have.get(name(port))
        busy = {*others, *chosen.values()}
        found = kept or next((p for p in range(FIRST, LAST + 1) if p not in busy), None)
        if found is None:
            raise Exhausted(f"every port from {FIRST} to {LAST} is published")
        chosen[name(port)] = found
    return chosen
