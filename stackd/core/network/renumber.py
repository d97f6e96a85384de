"""Networks whose subnets are not of the cluster's pool any more: they are given up, so that the
allocator makes them again in the pool of now.

Called by the manager when it begins to lead (`manager.leading`): `up` changes the pool of a kept
cluster when another route overlaps it, which it does only while nothing of the cluster runs.
Subnets that a stack file names stay.
"""

from collections.abc import Set

import msgspec

from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids
from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.record import Delete, ref
from stackd.core.model.release import Stack
from stackd.core.model.world import World
from stackd.core.network import addressing
from stackd.core.network.ipam import Pool


def decide(world: World, pool: Pool, now: float, ids: Ids) -> Decision:
    """Remove those networks, and the virtual addresses in them."""
    draft = Draft(now, ids)
    named = _named(world)
    gone = [
        network
        for network in world.all(Network)
        if network.name not in named and not addressing.within(network.subnet, pool.base)
    ]
    for network in gone:
        text = f"subnet {network.subnet} is outside the address pool {pool.base}"
        event = draft.event("network.removed", network.name, text)
        draft.group([Delete(ref=ref(Network, network.key)), event])
    for entry in _without(world, {network.id for network in gone}):
        draft.group([entry])
    return draft.decision()


def _named(world: World) -> set[str]:
    """Names of networks whose subnet is declared."""
    releases = (world.release(stack.name) for stack in world.all(Stack))
    return {
        network.name
        for release in releases
        if release is not None
        for network in release.spec.networks.values()
        if network.subnet
    }


def _without(world: World, gone: Set[str]) -> list[ServiceAddresses]:
    """Services that had an address in one of these networks, without it."""
    return [
        msgspec.structs.replace(
            entry, vips={n: address for n, address in entry.vips.items() if n not in gone}
        )
        for entry in world.all(ServiceAddresses)
        if not gone.isdisjoint(entry.vips)
    ]
