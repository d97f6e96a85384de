import pytest

from stackd.core.model.stack import AppProtocol, Port
from stackd.core.spec.ports import identity
from tests.unit.core.spec.stacks import faults, service

HTTP = AppProtocol.HTTP


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['8080']", [Port(target=8080)]),
        ("[80:8080]", [Port(target=8080, published=80)]),
        ("['80:8080/tcp']", [Port(target=8080, published=80)]),
        (
            "['9090-9091:8080-8081']",
            [Port(target=8080, published=9090), Port(target=8081, published=9091)],
        ),
        ("[{target: 8080}]", [Port(target=8080)]),
        ("[{target: 80, published: '81'}]", [Port(target=80, published=81)]),
        (
            "[{target: 80, published: 81, protocol: tcp, mode: ingress, app_protocol: http}]",
            [Port(target=80, published=81, protocol=HTTP)],
        ),
    ],
)
def test_forms(text: str, expected: list[Port]) -> None:
    assert list(service(f"ports: {text}").ports) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("['80:8080/udp']", "4:13 protocol udp is not supported yet"),
        ("['80:8080/sctp']", "protocol sctp is not supported by stackd"),
        ("['127.0.0.1:80:8080']", "publishing on one address is not supported yet"),
        ("['[::1]:80:8080']", "publishing on one address"),
        ("['99999:80']", "99999 is out of range"),
        ("['0:80']", "0 is out of range"),
        ("[x]", "'x' is not a port"),
        ("['90-91:80']", "publishes 2 ports of 1"),
        ("['91-90:80-81']", "'91-90' is not a range"),
        ("['1-500']", "'1-500' is not a range of 1 to 100 ports"),
        ("[{target: 80, mode: host}]", "4:32 'host' is not supported yet"),
        ("[{target: 80, host_ip: 1.2.3.4}]", "4:26 host_ip is not supported yet"),
        ("[{target: 80, app_protocol: grpc}]", "'grpc' is not supported yet"),
        ("[{published: 80}]", "4:13 target is missing"),
        ("[{target: 80, count: 2}]", "unknown key count"),
        ("8080", "must be a list"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert message in faults(f"ports: {text}")


def test_ranges_are_bounded_together() -> None:
    many = ", ".join(["'1-100'"] * 11)
    assert "4:12 a service publishes at most 1000 ports" in faults(f"ports: [{many}]")


def test_identity_ignores_the_form() -> None:
    assert identity("80:8080") == identity({"target": "8080", "published": "80"})
    assert identity("80:8080") != identity("81:8080")
    assert identity("nonsense") is None
