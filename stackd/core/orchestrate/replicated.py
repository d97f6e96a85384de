"""The slots of a replicated service: numbers from 1. Called by `service`."""

from stackd.core.model import fit
from stackd.core.model.stack import ServiceSpec
from stackd.core.model.world import World


def slots(world: World, stack: str, spec: ServiceSpec) -> list[str]:
    """Slots the service should fill, in the order they are filled."""
    return [str(number) for number in range(1, fit.replicas(world, stack, spec) + 1)]


def order(slot: str) -> tuple[int, str]:
    """Slots sort by number, those that are no numbers (nodes) by name."""
    return (int(slot), "") if slot.isdigit() else (0, slot)
