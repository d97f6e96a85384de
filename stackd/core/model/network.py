"""What the allocator has given out: networks, virtual addresses, published ports, volumes."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.ids import NetworkId, service_key
from stackd.core.model.record import Record


class Network(Record, frozen=True, kw_only=True):
    """An allocated overlay network."""

    TABLE: ClassVar[str] = "networks"
    id: NetworkId
    name: str
    """Cluster-wide name, `STACK_NET` by default."""
    stack: str = ""
    """The stack that declares it; empty when made by hand."""
    vni: int
    subnet: str
    """IPv4 CIDR. Node gateways take the lowest host addresses by node index, tasks and virtual
    addresses the rest."""
    internal: bool = False
    attachable: bool = False
    mtu: int = 1450
    cursor: int = 0
    """Offset of the address given out last: addresses are reused as late as possible."""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.id


class ServiceAddresses(Record, frozen=True, kw_only=True):
    """The virtual addresses and chosen ports of a service."""

    TABLE: ClassVar[str] = "vips"
    stack: str
    service: str
    vips: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Network id -> virtual IPv4 address."""
    ports: Mapping[str, int] = msgspec.field(default_factory=dict)
    """`TARGET/PROTOCOL` -> published port, for those the stack file left open (30000-32767)."""

    @property
    def key(self) -> str:
        return service_key(self.stack, self.service)


class VolumeBinding(Record, frozen=True, kw_only=True):
    """Which node holds a named volume of a slot; the slot stays there."""

    TABLE: ClassVar[str] = "volumes"
    name: str
    """Cluster-wide volume name, `STACK_VOLUME` by default."""
    node: str
    stack: str = ""
    created: float = 0
    slots: tuple[str, ...] = ()
    """`STACK/SERVICE.SLOT` of the slots that were placed here because of it."""
    removing: float = 0
    """Unix seconds when its removal was asked for; 0 = it stays. The record goes when the node
    says that the data has gone."""

    @property
    def key(self) -> str:
        return f"{self.name}/{self.node}"
