"""A cluster that is started again where something else has taken what it needs."""

import socket

import pytest

from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused
from stackd.host.cluster import check
from tests.fakes.ports import free_port


def kept(port: int, pool: str = "203.0.113.0/24") -> ClusterFile:
    return ClusterFile(
        id="kept0001",
        nodes=1,
        control_port=port,
        http_port=free_port(),
        enrol_port=free_port(),
        pool=pool,
        address="127.0.0.1",
    )


def test_what_is_free_is_taken_again() -> None:
    check(kept(free_port()))


def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Refused, match=f"Port {port} is held by .*pid"):
            check(kept(port))


def test_a_pool_that_another_route_overlaps() -> None:
    with pytest.raises(Refused, match="overlaps the route"):
        check(kept(free_port(), pool="0.0.0.0/0"))
