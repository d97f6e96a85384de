"""Subnets, addresses, network ids."""

import pytest

from stackd.core.model.ids import NetworkId
from stackd.core.model.network import Network
from stackd.core.network import ipam
from stackd.core.network.ipam import Exhausted, Pool


def network(subnet: str = "10.64.0.0/26") -> Network:
    return Network(id=NetworkId("net1"), name="shop_default", vni=1, subnet=subnet)


def test_the_first_32_addresses_and_the_last_are_reserved() -> None:
    taken: set[str] = set()
    cursor = ipam.GATEWAYS - 1
    for _ in range(ipam.capacity(network())):
        address, cursor = ipam.take(network(), taken, cursor)
        taken.add(address)
    assert len(taken) == 31
    assert min(taken) == "10.64.0.32"
    assert max(taken) == "10.64.0.62"
    text = "network shop_default has no free address: 31 of 31 in use"
    with pytest.raises(Exhausted, match=text):
        ipam.take(network(), taken, cursor)


def test_an_address_is_reused_as_late_as_possible() -> None:
    first, cursor = ipam.take(network(), set(), ipam.GATEWAYS - 1)
    second, cursor = ipam.take(network(), set(), cursor)
    assert (first, second) == ("10.64.0.32", "10.64.0.33")
    for _ in range(29):
        last, cursor = ipam.take(network(), set(), cursor)
    assert last == "10.64.0.62"
    assert ipam.take(network(), {first}, cursor)[0] == second


def test_subnets_never_overlap() -> None:
    pool = Pool(base="10.64.0.0/23", prefix=24)
    first = ipam.subnet("", pool, [])
    second = ipam.subnet("", pool, [first])
    assert (first, second) == ("10.64.0.0/24", "10.64.1.0/24")
    with pytest.raises(Exhausted, match="no free /24 block"):
        ipam.subnet("", pool, ["10.64.0.0/16"])
    with pytest.raises(Exhausted, match="overlaps"):
        ipam.subnet("10.64.0.128/25", pool, [first])
    with pytest.raises(Exhausted, match="too small"):
        ipam.subnet("192.168.0.0/27", pool, [first])


def test_network_ids_come_from_cluster_and_name_and_are_probed() -> None:
    first = ipam.vni("c1", "shop_default", set())
    assert 4096 <= first < 2**24
    assert ipam.vni("c1", "shop_default", {first}) in (first + 1, 4096)
    assert ipam.vni("c2", "shop_default", set()) != first
