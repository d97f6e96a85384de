"""Which ports a foreign chain that drops what no rule accepts lets in, read from nft's own text
of its rules, since only the text also tells what iptables' extensions mean. Used by
`host.firewall`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from stackd.core.network import naming

Port = tuple[str, int]
"""Protocol and number."""

_DPORT = re.compile(r"\b(tcp|udp|th) dport (\{[^}]*\}|\S+)")
_OWN = re.compile(f'"{naming.OWN_LINK.pattern}"')
_JUMP = re.compile(r"\b(?:jump|goto) (\S+)")
_NARROW = re.compile(r"\b(iif|iifname|oif|oifname|ct state|icmp|icmpv6|meta l4proto|ip protocol)\b")
_COUNTER = re.compile(r"\bcounter packets \d+ bytes \d+")


def shut(chains: Mapping[str, Sequence[str]], first: str, ports: Iterable[Port]) -> list[Port]:
    """Those of `ports` that no rule of the chain `first`, or of one that it leads to, accepts.

    `chains`: the lines of each chain of the table. A rule that accepts only from some addresses
    counts: whoever wrote it knows which. A named set may hold any port. Rules for the links of
    clusters are not for other machines.
    """
    lines = [line for line in _reached(chains, first) if not _OWN.search(line)]
    return [port for port in ports if not any(_accepts(line, port) for line in lines)]


def _reached(chains: Mapping[str, Sequence[str]], first: str) -> Iterable[str]:
    seen, todo = set[str](), [first]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in chains.get(name, ()):
            yield line
            todo += _JUMP.findall(line)


def _accepts(line: str, port: Port) -> bool:
    rule = _COUNTER.sub("", line.partition(" comment ")[0]).strip()
    if not rule.endswith("accept"):
        return False
    named = _DPORT.search(rule)
    if named is None:
        return _NARROW.search(rule) is None
    protocol, right = named.groups()
    return protocol in (port[0], "th") and _holds(right, port[1])


def _holds(right: str, port: int) -> bool:
    """Whether the right side of a dport match (one, a range, a set) holds the port."""
    if right.startswith("@"):
        return True
    for part in right.strip("{} ").split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and int(low) <= port <= int(high or low):
            return True
    return False
