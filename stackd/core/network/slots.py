"""Weights as slots: which backend each number of a virtual address's dice leads to.

A virtual address with equally weighted endpoints has one slot for each; otherwise 1000 slots are
shared out by largest remainder. Used by `host.plane`, which keeps the kernel's maps equal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stackd.core.model.traffic import Endpoint, EndpointState, TrafficEntry

WEIGHTED = 1000
MANY = 10_000
"""Slots when a weighted service has more than 1000 endpoints, or a weight that 1000 slots would
round away."""
FINEST = 100
"""A weight below this (1 %) that is no whole number of thousandths needs MANY slots."""


@dataclass(frozen=True, slots=True)
class VipTable:
    """All virtual addresses of a node: `slots[vip]` has one backend per slot, possibly none."""

    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def moduli(self) -> frozenset[int]:
        """The slot counts in use."""
        return frozenset(len(slots) for slots in self.slots.values() if slots)


def vip_table(entries: Iterable[TrafficEntry]) -> VipTable:
    """The slots of every virtual address of these entries."""
    slots: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        ready = [e for e in entry.endpoints if e.state is EndpointState.READY]
        for network, vip in entry.vips.items():
            slots[vip] = share_out(backends(ready, network), entry.weights)
    return VipTable(slots)


def backends(ready: Sequence[Endpoint], network: str) -> dict[str, list[str]]:
    """Revision -> addresses of its ready endpoints on a network, in a stable order."""
    found: dict[str, list[str]] = {}
    for endpoint in ready:
        if address := endpoint.addresses.get(network):
            found.setdefault(endpoint.revision, []).append(address)
    return {revision: sorted(found[revision]) for revision in sorted(found)}


def share_out(
    by_revision: Mapping[str, Sequence[str]], weights: Mapping[str, int]
) -> tuple[str, ...]:
    """The slots, grouped by backend. A revision without endpoints counts as weight 0; without
    any weights at all every endpoint counts the same."""
    effective = {
        revision: (weights.get(revision, 0) if weights else len(addresses))
        for revision, addresses in by_revision.items()
    }
    live = {revision: weight for revision, weight in effective.items() if weight > 0}
    if not live:
        return ()
    first = next(iter(live))
    if all(live[r] * len(by_revision[first]) == live[first] * len(by_revision[r]) for r in live):
        return tuple(address for r in live for address in by_revision[r])
    count = sum(len(by_revision[revision]) for revision in live)
    fine = min(live.values()) < FINEST and any(weight % 10 for weight in live.values())
    total = MANY if fine or count > WEIGHTED else WEIGHTED
    shares = _largest_remainder([live[r] for r in live], total)
    slots: list[str] = []
    for revision, share in zip(live, shares, strict=True):
        addresses = by_revision[revision]
        for address, n in zip(
            addresses, _largest_remainder([1] * len(addresses), share), strict=True
        ):
            slots.extend([address] * n)
    return tuple(slots)


def _largest_remainder(weights: Sequence[int], total: int) -> list[int]:
    whole = sum(weights)
    shares = [weight * total // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(weights[i] * total % whole), i))
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    return shares
