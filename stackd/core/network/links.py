"""The links, neighbours and forwarding entries a node should have, derived from its assignment.

Tasks are routed, not bridged: on other nodes a task is one neighbour entry that points at the
bridge of the task's node; forwarding entries exist per node, not per task. Used by `host.fabric`.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.network import Network
from stackd.core.network import addressing

UNDERLAY_MTU = 1500
VXLAN_OVERHEAD = 50


@dataclass(frozen=True, slots=True)
class Overlay:
    """One network on this node: a bridge with the gateway address, and a VXLAN device."""

    id: str
    bridge: str
    vxlan: str
    vni: int
    subnet: str
    prefix: int
    gateway: str
    mac: str
    mtu: int
    internal: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that follows from what the manager said; local tasks come by `attach`."""

    overlays: Mapping[str, Overlay] = field(default_factory=dict)
    """By network id."""
    forwarding: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(network id, MAC of a peer's bridge) -> the peer's underlay address."""
    neighbours: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(network id, address on another node) -> MAC of that node's bridge."""
    nodes: frozenset[str] = frozenset()
    """Underlay addresses of all members, this node's too."""


def without(wanted: Wanted, networks: Set[str]) -> Wanted:
    """The same, but for these networks and all that is in them."""
    return Wanted(
        {n: o for n, o in wanted.overlays.items() if n not in networks},
        {key: node for key, node in wanted.forwarding.items() if key[0] not in networks},
        {key: mac for key, mac in wanted.neighbours.items() if key[0] not in networks},
        wanted.nodes,
    )


def bridge_name(network: str) -> str:
    """Name of a network's bridge inside the data-plane namespace."""
    return f"b{network[:13]}"


def vxlan_name(network: str) -> str:
    """Name of a network's VXLAN device inside the data-plane namespace."""
    return f"v{network[:13]}"


def port_name(task: str, position: int) -> str:
    """Name of the node's side of a task's link in its n-th network."""
    return f"t{task[:12]}{position:x}"


def overlay(network: Network, index: int, underlay_mtu: int = UNDERLAY_MTU) -> Overlay:
    """One network as the node with this index has it. Its packets fit into the underlay's, which
    could carry larger ones only in pieces. Raises Refused (subnet too small)."""
    return Overlay(
        id=network.id,
        bridge=bridge_name(network.id),
        vxlan=vxlan_name(network.id),
        vni=network.vni,
        subnet=network.subnet,
        prefix=int(network.subnet.partition("/")[2]),
        gateway=addressing.gateway(network.subnet, index),
        mac=addressing.bridge_mac(network.vni, index),
        mtu=min(network.mtu, underlay_mtu - VXLAN_OVERHEAD),
        internal=network.internal,
    )


def wanted(
    here: NodeItem,
    networks: Sequence[Network],
    nodes: Sequence[NodeItem],
    attachments: Sequence[AttachmentItem],
    underlay_mtu: int = UNDERLAY_MTU,
) -> Wanted:
    """What node `here` should have. Raises Refused when a subnet has no gateway for it."""
    overlays = {str(network.id): overlay(network, here.index, underlay_mtu) for network in networks}
    peers = {node.id: node for node in nodes if node.id != here.id}
    forwarding: dict[tuple[str, str], str] = {}
    neighbours: dict[tuple[str, str], str] = {}
    for network in networks:
        room = addressing.reserved(network.subnet)
        for peer in peers.values():
            if peer.address and peer.index < room:
                mac = addressing.bridge_mac(network.vni, peer.index)
                forwarding[network.id, mac] = peer.address
                neighbours[network.id, addressing.gateway(network.subnet, peer.index)] = mac
    for item in attachments:
        host = peers.get(item.node)
        own = overlays.get(item.network)
        if host is not None and own is not None:
            mac = addressing.bridge_mac(own.vni, host.index)
            neighbours[item.network, item.address] = mac
    members = {node.address for node in (*nodes, here) if node.address}
    return Wanted(overlays, forwarding, neighbours, frozenset(members))
