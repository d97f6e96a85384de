"""Address pools that overlap nothing of the machine."""

from ipaddress import IPv4Network

import pytest

from stackd.errors import Refused
from stackd.host.cluster import POOLS, free_pool


def taken(*subnets: str) -> list[IPv4Network]:
    return [IPv4Network(subnet) for subnet in subnets]


def test_the_first_large_pool_that_is_free() -> None:
    assert free_pool(taken()) == POOLS[0]
    assert free_pool(taken("10.64.3.0/24", "10.128.0.0/10")) == "10.192.0.0/10"


def test_a_small_pool_when_each_large_one_is_touched() -> None:
    assert free_pool(taken(*POOLS[1:], "10.64.0.0/16")) == "10.65.0.0/16"
    assert free_pool(taken("10.0.0.0/8", "172.16.0.0/12")) == "192.168.0.0/16"


def test_none_is_left() -> None:
    with pytest.raises(Refused, match="overlaps a route"):
        free_pool(taken("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
