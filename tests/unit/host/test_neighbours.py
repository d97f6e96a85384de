"""Whom a machine talks to, as its files tell."""

from ipaddress import IPv4Address, IPv4Network

from stackd.host import neighbours
from stackd.host.cluster import POOLS, free_pool

RESOLV = """# made by hand
search example
nameserver 10.70.0.2
nameserver fd00::2
nameserver
options ndots:1
nameserver 192.0.2.7
"""
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 020200C0:0016 0403800A:D431 01 00000000:00000000 02:00000000 00000000     0
   2: 020200C0:0016 0503800A:D431 06 00000000:00000000 02:00000000 00000000     0
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF0000020200C0:0016 0000000000000000FFFF00000100C80A:D431 01 0:0 0:0
   1: 000000000000000000000000000000FD:0016 000000000000000000000000000001FD:D431 01 0:0 0:0
"""


def test_name_servers() -> None:
    found = list(neighbours.nameservers(RESOLV))
    assert found == [IPv4Address("10.70.0.2"), IPv4Address("192.0.2.7")]
    assert list(neighbours.nameservers("")) == []


def test_far_ends_of_established_connections() -> None:
    assert list(neighbours.far_ends(TCP)) == [IPv4Address("10.128.3.4")]
    assert list(neighbours.far_ends(TCP6)) == [IPv4Address("10.200.0.1")]
    assert list(neighbours.far_ends("")) == []


def test_no_pool_takes_a_neighbour_away() -> None:
    found = [*neighbours.nameservers(RESOLV), *neighbours.far_ends(TCP)]
    assert free_pool([IPv4Network(address) for address in found]) == POOLS[2]
