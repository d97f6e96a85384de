"""What each name means to each task: the resolution table behind a node's DNS server.

A name is known within the networks of who asks. `SERVICE`, `SERVICE.STACK`, `STACK_SERVICE` and
aliases mean the virtual address, whether or not a task is ready; with `tasks.` before, the
addresses of the ready tasks. Where stacks share a network the asker's own comes first.
"""

import enum
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stackd.core.model.assignment import AttachmentItem
from stackd.core.model.network import Network
from stackd.core.model.traffic import EndpointState, TrafficEntry
from stackd.core.network import addressing

NODE_NAME = "stackd.internal"
"""This node's own services, at the asker's gateway."""


class Outcome(enum.Enum):
    """What to say to a question about a name."""

    FOUND = "found"
    """The name exists; it may have no address now."""
    UNKNOWN = "unknown"
    ELSEWHERE = "elsewhere"
    """Not ours: the host's resolvers may know."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer; addresses in ascending order."""

    outcome: Outcome
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: its stack and service, its networks in the order of their ids, this node's gateway
    in the first of them, and whether it may ask about the outside (not with internal networks
    only)."""

    stack: str
    networks: tuple[str, ...]
    gateway: str
    outside: bool
    service: str = ""


def askers(
    networks: Sequence[Network], attachments: Iterable[AttachmentItem], node: str, index: int
) -> dict[str, Asker]:
    """The tasks of a node by each of their addresses."""
    known = {str(network.id): network for network in networks}
    by_task: dict[str, list[AttachmentItem]] = {}
    for item in attachments:
        if item.node == node and item.network in known:
            by_task.setdefault(item.task, []).append(item)
    gateways: dict[str, str] = {}
    found: dict[str, Asker] = {}
    for items in by_task.values():
        ids = tuple(sorted(item.network for item in items))
        if ids[0] not in gateways:
            gateways[ids[0]] = addressing.gateway(known[ids[0]].subnet, index)
        asker = Asker(
            stack=items[0].stack,
            networks=ids,
            gateway=gateways[ids[0]],
            outside=any(not known[network].internal for network in ids),
            service=items[0].service,
        )
        found |= {item.address: asker for item in items}
    return found


_Meaning = tuple[str, tuple[str, ...]]
"""(stack, addresses in ascending order)"""


class NameTable:
    """The names of all services. Changing one service costs what that service has."""

    def __init__(self) -> None:
        self._entries: dict[str, TrafficEntry] = {}
        self._index: dict[tuple[str, str], dict[str, _Meaning]] = {}

    def replace(self, entries: Sequence[TrafficEntry]) -> None:
        """Know exactly these services."""
        new = {entry.key: entry for entry in entries}
        for key, old in self._entries.items():
            if (entry := new.get(key)) is not old and entry != old:
                self._forget(old)
        for key, entry in new.items():
            if (known := self._entries.get(key)) is not entry and known != entry:
                self._learn(entry)
        self._entries = new

    def _learn(self, entry: TrafficEntry) -> None:
        for place, addresses in _names(entry).items():
            self._index.setdefault(place, {})[entry.key] = (entry.stack, addresses)

    def _forget(self, entry: TrafficEntry) -> None:
        for place in _names(entry):
            meanings = self._index.get(place, {})
            meanings.pop(entry.key, None)
            if not meanings:
                self._index.pop(place, None)

    def resolve(self, asker: Asker, name: str) -> Resolution:
        """What a name means to a task. Case and a final dot do not matter."""
        plain = name.rstrip(".").lower()
        if plain == NODE_NAME:
            return Resolution(Outcome.FOUND, (asker.gateway,))
        for own in (True, False):
            for network in asker.networks:
                meanings = self._index.get((network, plain), {}).values()
                hits = [found for stack, found in meanings if (stack == asker.stack) == own]
                if len(hits) == 1:
                    return Resolution(Outcome.FOUND, hits[0])
                if hits:
                    return Resolution(Outcome.FOUND, _ordered(a for found in hits for a in found))
        if "." not in plain or not asker.outside or _private_reverse(plain):
            return Resolution(Outcome.UNKNOWN)
        return Resolution(Outcome.ELSEWHERE)


def _ordered(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(addresses), key=lambda a: tuple(map(int, a.split(".")))))


def _private_reverse(name: str) -> bool:
    """Whether this asks for the name of a private address, which no resolver outside knows."""
    if not name.endswith(".in-addr.arpa"):
        return False
    parts = name.removesuffix(".in-addr.arpa").split(".")
    try:
        return ipaddress.IPv4Address(".".join(reversed(parts))).is_private
    except ValueError:
        return False


def _names(entry: TrafficEntry) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """(network, name) -> addresses, for every name of a service."""
    service, stack = entry.service.lower(), entry.stack.lower()
    own = (service, f"{service}.{stack}", f"{stack}_{service}")
    ready: dict[str, list[str]] = {}
    networks = set(entry.vips) | set(entry.aliases)
    for endpoint in entry.endpoints:
        networks |= set(endpoint.addresses)
        if endpoint.state is EndpointState.READY:
            for network, address in endpoint.addresses.items():
                ready.setdefault(network, []).append(address)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for network in networks:
        tasks = _ordered(ready.get(network, ()))
        vip = entry.vips.get(network)
        aliases = (alias.lower() for alias in entry.aliases.get(network, ()))
        for name in (*own, *aliases):
            found[network, name] = (vip,) if vip else tasks
        for name in own:
            found[network, f"tasks.{name}"] = tasks
    return found
