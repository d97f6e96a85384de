from stackd.core.model.assignment import NodeItem
from stackd.core.model.ids import NetworkId
from stackd.core.model.network import Network
from stackd.core.network import elements, links
from stackd.core.network.slots import VipTable

HERE = NodeItem(id="a", name="one", index=1, address="192.0.2.1")
THERE = NodeItem(id="b", name="two", index=2, address="192.0.2.2")
OPEN = Network(id=NetworkId("open0001"), name="o", vni=0x010203, subnet="10.1.0.0/24")
SHUT = Network(id=NetworkId("shut0001"), name="s", vni=9, subnet="10.2.0.0/24", internal=True)
BRIDGE = b"bopen0001" + bytes(7)


def test_sets_follow_from_networks_and_nodes() -> None:
    wanted = links.wanted(HERE, [OPEN, SHUT], [HERE, THERE], [])
    sets = elements.network_sets(wanted)
    assert BRIDGE in sets["bridges"]
    assert set(sets["internal"]) == {b"bshut0001" + bytes(7)}
    assert BRIDGE * 2 in sets["same"]
    assert BRIDGE + bytes([10, 1, 0, 1]) in sets["gw"]
    assert set(sets["nodes"]) == {bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])}
    assert BRIDGE + bytes([2, 0, 2, 3, 0, 2, 0, 0]) in sets["peermac"]
    assert len(sets["peermac"]) == 2


def test_the_hosts_sets_name_vnis_and_ports() -> None:
    sets = elements.host_sets(links.wanted(HERE, [OPEN], [HERE], []), [(6, 8080)])
    assert set(sets["vnis"]) == {b"\x01\x02\x03"}
    assert set(sets["published"]) == {b"\x06\0\0\0\x1f\x90\0\0"}


def test_a_task_speaks_from_its_bridge_mac_and_address() -> None:
    source, own = elements.task_source("bopen0001", "10.1.0.40")
    assert source == BRIDGE + bytes([2, 0x42, 10, 1, 0, 40, 0, 0]) + bytes([10, 1, 0, 40])
    assert own == bytes([10, 1, 0, 40]) * 2


def test_virtual_addresses_become_slots_and_a_verdict() -> None:
    maps = elements.vip_maps(VipTable({"10.1.0.9": ("10.1.0.40", "10.1.0.41"), "10.1.0.8": ()}))
    vip = bytes([10, 1, 0, 9])
    assert maps["svc"] == {vip: b"c2"}
    assert maps["slots"] == {
        elements.slot_key(0, "10.1.0.9"): bytes([10, 1, 0, 40]),
        elements.slot_key(1, "10.1.0.9"): bytes([10, 1, 0, 41]),
    }
    assert set(maps["vips"]) == {vip, bytes([10, 1, 0, 8])}
