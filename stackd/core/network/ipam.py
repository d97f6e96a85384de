"""Subnets, addresses and network ids: who gets which, never the same twice.

Called by `allocate` (the allocator loop) and by plan feasibility (`free`). Addresses are given out
next-fit behind a stored cursor, so that one is reused as late as possible: nodes may still hold
connection entries of its last user.
"""

import hashlib
import ipaddress
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stackd.core.model.network import Network, ServiceAddresses
from stackd.core.model.release import Stack
from stackd.core.model.world import World

GATEWAYS = 32
"""The first host numbers of a subnet: 0 is the base, 1..31 are gateways by node index."""
_FIRST_VNI = 4096
_VNIS = 2**24


@dataclass(frozen=True)
class Pool:
    """Where subnets of networks come from that name none: blocks of `prefix` bits in `base`."""

    base: str = "10.64.0.0/10"
    prefix: int = 22


DEFAULT_POOL = Pool()


class Exhausted(Exception):
    """Nothing is left to give; the text says of what, in one sentence."""


def capacity(network: Network) -> int:
    """Addresses a network has for tasks and virtual addresses."""
    size = ipaddress.IPv4Network(network.subnet).num_addresses
    return max(0, size - GATEWAYS - 1)


def room(subnet: str, pool: Pool = DEFAULT_POOL) -> int:
    """Addresses that a network yet to be made would have; `subnet` '' = one from the pool."""
    prefix = ipaddress.IPv4Network(subnet).prefixlen if subnet else pool.prefix
    return max(0, (1 << (32 - prefix)) - GATEWAYS - 1)


def used(network: Network, world: World) -> set[str]:
    """Addresses of a network that live tasks and services hold now."""
    taken = {
        address
        for stack in users(network, world)
        for view in world.tasks_of_stack(stack)
        if view.live and (address := view.task.addresses.get(network.id))
    }
    for entry in world.all(ServiceAddresses):
        if network.id in entry.vips:
            taken.add(entry.vips[network.id])
    return taken


def users(network: Network, world: World) -> list[str]:
    """Stacks whose tasks may be in a network: its own, or any when others may join it."""
    joined = {
        release.stack
        for stack in world.all(Stack)
        if (release := world.release(stack.name, stack.release)) is not None
        and any(n.external and n.name == network.name for n in release.spec.networks.values())
    }
    joined.update({network.stack} if network.stack else set())
    joined.update(key.split("/", 1)[0] for key in world.services_with_tasks() if not network.stack)
    return sorted(joined)


def free(network: Network, world: World) -> int:
    """Addresses of a network that are not in use."""
    return capacity(network) - len(used(network, world))


def take(network: Network, taken: Collection[str], cursor: int) -> tuple[str, int]:
    """The next address behind `cursor` that is not in `taken`, and the new cursor.

    Raises Exhausted when every one is in use.
    """
    base = int(ipaddress.IPv4Network(network.subnet).network_address)
    total = capacity(network)
    start = max(0, cursor + 1 - GATEWAYS)
    for step in range(total):
        offset = GATEWAYS + (start + step) % total
        address = str(ipaddress.IPv4Address(base + offset))
        if address not in taken:
            return address, offset
    raise Exhausted(f"network {network.name} has no free address: {total} of {total} in use")


def subnet(wanted: str, pool: Pool, others: Collection[str]) -> str:
    """The subnet of a new network: the one wanted, or the first free block of the pool.

    Raises Exhausted when it would overlap one of `others`, or is too small, or none is left.
    """
    known = [ipaddress.IPv4Network(o) for o in others]
    if wanted:
        net = ipaddress.IPv4Network(wanted, strict=False)
        clash = next((k for k in known if k.overlaps(net)), None)
        if clash is not None:
            raise Exhausted(f"subnet {net} overlaps {clash}, which another network has")
        if net.num_addresses <= GATEWAYS + 1:
            raise Exhausted(f"subnet {net} is too small: the first {GATEWAYS} are reserved")
        return str(net)
    for block in _blocks(pool):
        if not any(k.overlaps(block) for k in known):
            return str(block)
    raise Exhausted(f"address pool {pool.base} has no free /{pool.prefix} block left")


def _blocks(pool: Pool) -> Iterator[ipaddress.IPv4Network]:
    return ipaddress.IPv4Network(pool.base).subnets(new_prefix=pool.prefix)


def vni(cluster: str, name: str, others: Collection[int]) -> int:
    """A network id of 24 bits derived from cluster and name; the next free one if it is taken.

    Raises Exhausted when all are taken.
    """
    digest = hashlib.sha256(f"{cluster}/{name}".encode()).digest()
    span = _VNIS - _FIRST_VNI
    start = int.from_bytes(digest[:8], "big") % span
    for step in range(span):
        candidate = _FIRST_VNI + (start + step) % span
        if candidate not in others:
            return candidate
    raise Exhausted("every VXLAN network id is in use")
