"""Elements of the nft sets and maps as the kernel's bytes: `{set: {key: data}}`.

Data is b"" in sets, an address in `slots` and the name of a chain in `svc`. Fields of a
concatenated key are padded to 4 bytes. Used by `host.nftables`, which sends the differences.
"""

import struct
import sys
from collections.abc import Iterable, Mapping

from stackd.core.network import addressing, ruleset
from stackd.core.network.links import Wanted
from stackd.core.network.slots import VipTable

Elements = Mapping[str, Mapping[bytes, bytes]]

Change = tuple[str, bytes, bytes | None]
"""(set, key, data): data None removes, b"" is a plain member."""

Slots = tuple[str, ...] | None


def ifname(name: str) -> bytes:
    """An interface name as a key: 16 bytes, zero padded."""
    return name.encode().ljust(16, b"\0")


def address(text: str) -> bytes:
    """A (valid) IPv4 address as a key."""
    return bytes(map(int, text.split(".")))


def mac(text: str) -> bytes:
    """A MAC as a field of a concatenated key."""
    return bytes.fromhex(text.replace(":", "")) + b"\0\0"


def port(protocol: int, number: int) -> bytes:
    """`inet_proto . inet_service` as a key."""
    return struct.pack("!B3xH2x", protocol, number)


def slot_key(slot: int, vip: str) -> bytes:
    """`mark . ipv4_addr` as a key; the mark is in host byte order."""
    return slot.to_bytes(4, sys.byteorder) + address(vip)


def network_sets(wanted: Wanted) -> Elements:
    """The sets that follow from the networks and nodes."""
    overlays = wanted.overlays
    return {
        "bridges": {ifname(o.bridge): b"" for o in overlays.values()},
        "same": {ifname(o.bridge) * 2: b"" for o in overlays.values()},
        "internal": {ifname(o.bridge): b"" for o in overlays.values() if o.internal},
        "gw": {ifname(o.bridge) + address(o.gateway): b"" for o in overlays.values()},
        "nodes": {address(node): b"" for node in wanted.nodes},
        "peermac": {
            ifname(overlays[net].bridge) + mac(peer): b"" for net, peer in wanted.forwarding
        },
    }


def host_sets(wanted: Wanted, published: Iterable[tuple[int, int]]) -> Elements:
    """The sets of the host's table; `published` are (protocol number, port)."""
    return {
        "nodes": {address(node): b"" for node in wanted.nodes},
        "vnis": {o.vni.to_bytes(3, "big"): b"" for o in wanted.overlays.values()},
        "published": {port(*entry): b"" for entry in published},
    }


def task_source(bridge: str, own: str) -> tuple[bytes, bytes]:
    """Keys of a local task's address in `src4` and `self`."""
    source = ifname(bridge) + mac(addressing.task_mac(own)) + address(own)
    return source, address(own) * 2


def vip_maps(vips: VipTable) -> Elements:
    """The maps and the set behind the virtual addresses."""
    slots: dict[bytes, bytes] = {}
    svc: dict[bytes, bytes] = {}
    for vip, backends in vips.slots.items():
        for number, backend in enumerate(backends):
            slots[slot_key(number, vip)] = address(backend)
        if backends:
            svc[address(vip)] = _verdict(backends)
    return {"slots": slots, "svc": svc, "vips": {address(vip): b"" for vip in vips.slots}}


def vip_changes(vip: str, old: Slots, new: Slots) -> list[Change]:
    """What leads from one state of a virtual address to another; None = it does not exist."""
    before, after, key = old or (), new or (), address(vip)
    changes: list[Change] = []
    if len(before) != len(after):
        changes.append(("svc", key, _verdict(after) if after else None))
    if (old is None) != (new is None):
        changes.append(("vips", key, None if new is None else b""))
    for number in range(max(len(before), len(after))):
        had = before[number] if number < len(before) else None
        has = after[number] if number < len(after) else None
        if had != has:
            data = None if has is None else address(has)
            changes.append(("slots", slot_key(number, vip), data))
    return changes


def _verdict(backends: tuple[str, ...]) -> bytes:
    return ruleset.modulus_chain(len(backends)).encode()
