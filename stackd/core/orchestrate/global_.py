"""The slots of a global service: the ids of the nodes it runs on. Called by `service`."""

from stackd.core.model import fit
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.world import World

EVERYWHERE = -1
"""The count that means one task on every fitting node."""


def slots(world: World, stack: str, spec: ServiceSpec) -> list[str]:
    """Nodes the service should run on, by id."""
    del stack
    return fit.global_nodes(world, spec)
