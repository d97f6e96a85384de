import ipaddress

import pytest

from stackd.core.network import addressing
from stackd.errors import Refused


def test_the_gateway_of_a_node_is_the_host_number_of_its_index() -> None:
    assert addressing.gateway("10.200.7.0/24", 1) == "10.200.7.1"
    assert addressing.gateway("10.200.4.0/22", 31) == "10.200.4.31"


@pytest.mark.parametrize(
    ("subnet", "reserved"), [("10.0.0.0/16", 32), ("10.0.0.0/24", 32), ("10.0.0.0/26", 8)]
)
def test_the_lowest_host_numbers_are_kept_for_gateways(subnet: str, reserved: int) -> None:
    assert addressing.reserved(subnet) == reserved


@pytest.mark.parametrize("index", [0, 32, 65535])
def test_a_node_without_a_gateway_is_told_to_take_a_larger_subnet(index: int) -> None:
    with pytest.raises(Refused, match=f"not for node {index}"):
        addressing.gateway("10.200.7.0/24", index)


def test_macs_follow_from_addresses_and_indexes() -> None:
    assert addressing.task_mac("10.200.1.255") == "02:42:0a:c8:01:ff"
    assert addressing.bridge_mac(0x123456, 0x102) == "02:00:34:56:01:02"


def test_bridge_macs_of_one_network_differ_for_all_nodes() -> None:
    assert len({addressing.bridge_mac(77, index) for index in range(1, 2000)}) == 1999


def test_an_uplink_pair_avoids_what_is_taken_and_the_metadata_address() -> None:
    first = addressing.uplink_pair(5, ())
    assert first == ("169.254.1.21", "169.254.1.22")
    assert addressing.uplink_pair(5, ["169.254.1.20/30"]) == ("169.254.1.25", "169.254.1.26")
    metadata = (169 - 1) * 64
    assert addressing.uplink_pair(metadata, ()) == ("169.254.170.1", "169.254.170.2")
    assert addressing.uplink_peer(first[0]) == first[1]


def test_uplink_pairs_stay_within_the_allowed_range() -> None:
    last = addressing.uplink_pair(253 * 64 - 1, ())
    assert ipaddress.IPv4Address(last[1]) <= ipaddress.IPv4Address("169.254.253.255")
    assert addressing.uplink_pair(253 * 64, ())[0] == "169.254.1.1"


def test_no_free_uplink_pair_is_said() -> None:
    with pytest.raises(Refused):
        addressing.uplink_pair(0, ["169.254.0.0/16", "fe80::/10"])


def test_subnets_are_within_pools_or_not() -> None:
    assert addressing.within("10.1.2.0/24", "10.1.0.0/16")
    assert not addressing.within("10.2.2.0/24", "10.1.0.0/16")
