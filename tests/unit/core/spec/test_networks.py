import pytest

from stackd.core.model.container import Attachment
from stackd.core.model.stack import NetworkSpec
from tests.unit.core.spec.stacks import document, faults, service, spec

NETS = "networks: {front: , back: {internal: true}}\n"


def test_the_default_network_is_there_when_it_is_used() -> None:
    found = spec(document(""))
    assert found.services["web"].container.networks == (Attachment(network="default"),)
    assert found.networks == {"default": NetworkSpec(name="shop_default")}
    named = spec(document("networks: [front]") + NETS)
    assert set(named.networks) == {"front", "back"}


def test_list_and_map_forms() -> None:
    found = service("networks: {front: , back: {aliases: [api, db.x, api]}}", rest=NETS)
    assert found.container.networks == (
        Attachment(network="front"),
        Attachment(network="back", aliases=("api", "db.x")),
    )
    assert service("networks: [front]", rest=NETS).container.networks == (
        Attachment(network="front"),
    )


def test_top_level_keys() -> None:
    text = """networks:
  default: {attachable: yes, labels: [a=1]}
  far: {external: true}
  own:
    name: literal
    driver: overlay
    driver_opts: {com.docker.network.driver.mtu: 1400}
    ipam: {driver: default, config: [{subnet: 10.9.0.0/24}]}
"""
    assert spec(document("") + text).networks == {
        "default": NetworkSpec(name="shop_default", attachable=True, labels={"a": "1"}),
        "far": NetworkSpec(name="far", external=True),
        "own": NetworkSpec(name="literal", subnet="10.9.0.0/24", mtu=1400),
    }


@pytest.mark.parametrize(
    ("keys", "rest", "message"),
    [
        ("networks: [other]", NETS, "4:16 other is not declared: add it under `networks:`"),
        ("networks: {other: }", NETS, "4:16 other is not declared"),
        ("networks: [front, front]", NETS, "a network is named twice"),
        ("networks: {front: {ipv4_address: 10.0.0.2}}", NETS, "addresses are allocated"),
        ("networks: {front: {aliases: [a_]}}", NETS, "is not a name that DNS can carry"),
        ("", "networks: {a: {driver: bridge}}", "'bridge' is not supported by stackd"),
        ("", "networks: {a: {driver_opts: {encrypted: ''}}}", "encrypted is not supported yet"),
        ("", "networks: {a: {enable_ipv6: true}}", "enable_ipv6 is not supported yet"),
        ("", "networks: {a: {ipam: {config: [{subnet: 10.0.0.1/24}]}}}", "not an IPv4 subnet"),
        ("", "networks: {a: {ipam: {config: [{subnet: 10.0.0.0/31}]}}}", "not between"),
        ("", "networks: {a: {external: {name: x}}}", "must be a single value"),
        ("", "networks: {a.b: {}}", "'a.b' is not a name"),
    ],
)
def test_faults(keys: str, rest: str, message: str) -> None:
    assert message in faults(keys, rest=rest)
