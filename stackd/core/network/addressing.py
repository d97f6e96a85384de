"""How addresses and MACs follow from subnets and node indexes, so that no node has to ask.

Host number i of a subnet is the gateway of the node with index i. The lowest eighth of the host
numbers, at most 32, is kept for gateways: a /24 or larger has room for 31 nodes. Tasks and
virtual addresses take the rest (`ipam`). Used by `core.network.links` and `host.uplink`.
"""

import ipaddress
from collections.abc import Iterable

from stackd.errors import Refused

UPLINK_POOL = ipaddress.IPv4Network("169.254.0.0/16")
UPLINK_PREFIX = 30
_UPLINK_SLOTS = 253 * 64
_METADATA = ipaddress.IPv4Network("169.254.169.0/24")


def reserved(subnet: str) -> int:
    """How many of the lowest host numbers, 0 (the subnet's own) included, tasks never get."""
    size = ipaddress.IPv4Network(subnet).num_addresses
    return max(2, min(32, size // 8))


def gateway(subnet: str, index: int) -> str:
    """The gateway address of the node with this index (from 1) in a subnet.

    Raises Refused when the subnet is too small for a node of that index.
    """
    network = ipaddress.IPv4Network(subnet)
    if not 1 <= index < reserved(subnet):
        raise Refused(
            f"Subnet {subnet} has gateways for {reserved(subnet) - 1} nodes, not for node {index}.",
            "Give the network a larger subnet.",
        )
    return str(network[index])


def task_mac(address: str) -> str:
    """The MAC of whoever holds this address: a replacement with the same address has the same
    MAC, so no neighbour cache is ever stale."""
    return _mac(b"\x02\x42" + ipaddress.IPv4Address(address).packed)


def bridge_mac(vni: int, index: int) -> str:
    """The MAC of a node's bridge in a network; unique within the network."""
    return _mac(b"\x02\x00" + (vni & 0xFFFF).to_bytes(2, "big") + index.to_bytes(2, "big"))


def _mac(packed: bytes) -> str:
    return packed.hex(":")


def uplink_pair(seed: int, taken: Iterable[str]) -> tuple[str, str]:
    """(host side, data-plane side) of a free link-local /30, searched for from `seed` on.

    `taken` are addresses or CIDRs in use. 169.254.0.0/24, .169.0/24 and .255.0/24 are left alone.
    Raises Refused when none is free.
    """
    used = [ipaddress.ip_network(entry, strict=False) for entry in taken if ":" not in entry]
    for step in range(_UPLINK_SLOTS):
        slot = (seed + step) % _UPLINK_SLOTS
        pair = ipaddress.IPv4Network((int(UPLINK_POOL[256]) + slot * 4, UPLINK_PREFIX))
        if pair.overlaps(_METADATA) or any(pair.overlaps(network) for network in used):
            continue
        return str(pair[1]), str(pair[2])
    raise Refused("No link-local address pair is free on this host.", "Free some of 169.254/16.")


def within(subnet: str, pool: str) -> bool:
    """Whether a subnet lies inside the pool."""
    return ipaddress.IPv4Network(subnet).subnet_of(ipaddress.IPv4Network(pool))


def uplink_peer(host_side: str) -> str:
    """The data-plane side of a pair by its host side."""
    return str(ipaddress.IPv4Address(host_side) + 1)
