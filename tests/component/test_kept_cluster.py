"""A cluster that is started again where something else has taken what it needs meanwhile."""

import contextlib
import ipaddress
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stackd.agent import config
from stackd.aio.layout import ClusterLayout
from stackd.cli import embedded
from stackd.core.model.cluster import ClusterFile
from stackd.host import cluster
from tests.fakes.ports import free_port

PORTS = ("control_port", "http_port", "enrol_port")


def kept(**fields: object) -> ClusterFile:
    own = {port: free_port() for port in PORTS}
    base = {"id": "kept0001", "pool": "203.0.113.0/24", "address": "127.0.0.1"}
    return msgspec.convert({**base, **own, **fields}, ClusterFile)


@contextlib.contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


def test_what_is_free_is_taken_again_and_nothing_is_written(tmp_path: Path) -> None:
    before = kept()
    assert cluster.resume(tmp_path, before) == (before, [])
    assert cluster.read(tmp_path) is None


@pytest.mark.parametrize("port", PORTS)
def test_a_port_that_is_taken_is_another_one_and_said(tmp_path: Path, port: str) -> None:
    with listener() as taken:
        before = kept(**{port: taken})
        after, [note] = cluster.resume(tmp_path, before)
        assert note.startswith(f"Port {taken} is held by ")
        assert note.endswith(f" is {getattr(after, port)} now.")
        with socket.create_server(("0.0.0.0", getattr(after, port))):
            pass
    changed = {
        key for key in after.__struct_fields__ if getattr(after, key) != getattr(before, key)
    }
    assert changed == {port}
    assert cluster.read(tmp_path) == after


def test_ports_that_are_all_taken_become_different_ones(tmp_path: Path) -> None:
    with listener() as one, listener() as two, listener() as three:
        before = kept(**dict(zip(PORTS, (one, two, three), strict=True)))
        after, notes = cluster.resume(tmp_path, before)
    assert len(notes) == 3
    assert len({getattr(after, port) for port in PORTS} - {one, two, three}) == 3


def test_a_port_of_its_own_is_no_free_port(tmp_path: Path) -> None:
    with listener() as taken:
        first, _ = cluster.resume(tmp_path, kept(control_port=taken))
        next_free = kept(control_port=taken, http_port=first.control_port)
        after, _ = cluster.resume(tmp_path, next_free)
    assert after.http_port == first.control_port != after.control_port


def test_a_port_of_another_cluster_is_its_own_also_while_its_manager_is_away(
    tmp_path: Path,
) -> None:
    other = ClusterLayout(tmp_path / "other", "t" + secrets.token_hex(4))
    mine = kept()
    try:
        cluster.claim(other.run, kept(id=other.cluster, http_port=mine.http_port))
        after, [note] = cluster.resume(tmp_path, mine)
        assert note.startswith(f"Port {mine.http_port} is another cluster's: the HTTP port is ")
        again = msgspec.structs.replace(mine, id=other.cluster)
        assert cluster.resume(tmp_path, again) == (again, [])
    finally:
        shutil.rmtree(other.run, ignore_errors=True)
    assert after.http_port != mine.http_port


def test_connections_that_linger_do_not_take_a_port(tmp_path: Path) -> None:
    """A manager that ended a moment ago leaves them behind."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first is the one that lingers
    before = kept(control_port=port)
    assert cluster.resume(tmp_path, before) == (before, [])


def test_a_pool_that_another_route_overlaps(tmp_path: Path) -> None:
    after, [note] = cluster.resume(tmp_path, kept(pool="0.0.0.0/0"))
    assert note.startswith("The address pool 0.0.0.0/0 overlaps the route ")
    assert note.endswith(f": tasks get addresses from {after.pool} now.")
    assert ipaddress.IPv4Network(after.pool).is_private


def test_an_address_that_the_machine_does_not_have_any_more(tmp_path: Path) -> None:
    after, [note] = cluster.resume(tmp_path, kept(address="203.0.113.9"))
    assert note == f"This machine has no address 203.0.113.9 any more: it is {after.address} now."
    with socket.socket() as probe:
        probe.bind((after.address, 0))


def test_members_are_told_and_a_running_agent_reads_it(tmp_path: Path) -> None:
    layout = ClusterLayout(tmp_path, "kept0001")
    [node] = embedded.nodes(layout, kept())
    embedded.refresh(layout, kept())
    assert not (node.data / config.NAME).exists()
    assert config.managers(node) == ()
    old = config.AgentFile(
        node_id="n", index=1, managers=("192.0.2.1:7420",), address="192.0.2.1", pool="10.0.0.0/8"
    )
    config.save(node, old)
    found = kept()
    embedded.refresh(layout, found)
    assert config.managers(node) == (f"127.0.0.1:{found.control_port}",)
    assert config.load(node) == msgspec.structs.replace(
        old, managers=config.managers(node), address="127.0.0.1", pool=found.pool
    )
