import pytest

from stackd.core.model.assignment import AttachmentItem, NodeItem
from stackd.core.model.ids import NetworkId
from stackd.core.model.network import Network
from stackd.core.network import links
from stackd.errors import Refused

HERE = NodeItem(id="a", name="one", index=1, address="192.0.2.1")
THERE = NodeItem(id="b", name="two", index=2, address="192.0.2.2")
NET = Network(id=NetworkId("net00001"), name="net", vni=300, subnet="10.1.0.0/24", mtu=1400)


def attachment(node: str, address: str, network: str = "net00001") -> AttachmentItem:
    return AttachmentItem(
        task=f"task{address}",
        network=network,
        address=address,
        node=node,
        stack="s",
        service="v",
        slot="1",
    )


def test_a_network_is_a_bridge_and_a_vxlan_device_with_this_nodes_gateway() -> None:
    overlay = links.overlay(NET, 2)
    assert (overlay.bridge, overlay.vxlan) == ("bnet00001", "vnet00001")
    assert (overlay.gateway, overlay.prefix, overlay.mtu) == ("10.1.0.2", 24, 1400)
    assert overlay.mac == "02:00:01:2c:00:02"


def test_names_of_links_fit_the_kernel() -> None:
    longest = links.port_name("abcdefghijkl", 15)
    assert longest == "tabcdefghijklf"
    assert all(
        len(name) <= 15
        for name in (longest, links.bridge_name("x" * 20), links.vxlan_name("y" * 20))
    )


def test_tasks_elsewhere_are_neighbours_behind_their_nodes_bridge() -> None:
    wanted = links.wanted(
        HERE,
        [NET],
        [HERE, THERE],
        [
            attachment("b", "10.1.0.50"),
            attachment("a", "10.1.0.51"),
            attachment("b", "1.1.1.1", "x"),
        ],
    )
    mac = "02:00:01:2c:00:02"
    assert wanted.neighbours == {
        ("net00001", "10.1.0.2"): mac,
        ("net00001", "10.1.0.50"): mac,
    }
    assert wanted.forwarding == {("net00001", mac): "192.0.2.2"}
    assert wanted.nodes == {"192.0.2.1", "192.0.2.2"}


def test_nodes_without_an_address_or_a_gateway_are_left_out() -> None:
    silent = NodeItem(id="c", name="three", index=3, address="")
    far = NodeItem(id="d", name="four", index=400, address="192.0.2.4")
    wanted = links.wanted(HERE, [NET], [HERE, silent, far], [])
    assert (wanted.forwarding, wanted.neighbours) == ({}, {})


def test_a_node_too_many_for_a_subnet_is_refused() -> None:
    with pytest.raises(Refused):
        links.wanted(NodeItem(id="z", name="z", index=99, address="192.0.2.9"), [NET], [], [])


def test_a_network_is_left_out_with_all_that_is_in_it() -> None:
    other = Network(id=NetworkId("net00002"), name="other", vni=301, subnet="10.2.0.0/24")
    both = links.wanted(HERE, [NET, other], [HERE, THERE], [attachment("b", "10.1.0.50")])
    assert links.without(both, {"net00001"}) == links.wanted(HERE, [other], [HERE, THERE], [])
    assert links.without(both, set()) == both


def test_packets_of_a_network_fit_into_the_underlay() -> None:
    mtus = [links.overlay(NET, 2, underlay).mtu for underlay in (1500, 1400, 9001)]
    assert mtus == [NET.mtu, 1350, NET.mtu]
