"""Which ports a foreign chain that drops the rest lets in, from nft's text."""

import pytest

from stackd.core.network import firewall

WANTED = (("tcp", 7420), ("udp", 4789))
OPEN: list[firewall.Port] = []


@pytest.mark.parametrize(
    ("rules", "shut"),
    [
        (["ct state established,related accept", 'iif "lo" accept'], list(WANTED)),
        (["tcp dport 7420 accept"], [("udp", 4789)]),
        (["tcp dport 7420 counter packets 3 bytes 4 accept", "udp dport 4000-5000 accept"], OPEN),
        (["tcp dport { 22, 7000-7500 } accept"], [("udp", 4789)]),
        (["tcp dport { 22, 80 } accept", "udp dport 7420 accept"], list(WANTED)),
        (["tcp dport @allowed accept"], [("udp", 4789)]),
        (["meta l4proto { tcp, udp } th dport { 4789, 7420 } accept"], OPEN),
        (["ip saddr 192.0.2.0/24 accept"], OPEN),
        (['iifname "eth1" accept', "meta l4proto icmp accept"], list(WANTED)),
        (['iifname "eth1" tcp dport 7420 accept comment "for nodes"'], [("udp", 4789)]),
        (['iifname "abcdefghs" tcp dport 7420 accept'], list(WANTED)),
        (["tcp dport 7420 drop"], list(WANTED)),
        (["counter packets 0 bytes 0 jump more"], OPEN),
        (['iifname "eth0" goto elsewhere'], [("udp", 4789)]),
        (["jump input"], list(WANTED)),
    ],
)
def test_ports_that_no_rule_accepts(rules: list[str], shut: list[firewall.Port]) -> None:
    chains = {
        "input": rules,
        "more": ["counter packets 9 bytes 9 accept"],
        "elsewhere": ["tcp dport 7420 accept"],
    }
    assert firewall.shut(chains, "input", WANTED) == shut
