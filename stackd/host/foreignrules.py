"""Chains of others (Docker, ufw, firewalld) that would swallow a node's traffic.

An accept in our own table does not override a drop elsewhere, so rules for our own links, marked
by a comment, go into the chains that drop. They use only what iptables can show: it refuses a
whole table that holds anything else. What they let in is narrowed by our own tables. Chains of the
legacy iptables modules are not seen here. Used by `host.uplink`, `host.switchkeeper`,
`host.leftovers` and `host.firewall`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from stackd.core.network import naming
from stackd.errors import Unavailable
from stackd.host.nftables import Nft

_DOCKER_USER = "DOCKER-USER"
FORWARD, INPUT = "forward", "input"
_KINDS = {FORWARD: "forwarded", INPUT: "incoming"}
_DIRECTIONS = ("iifname", "oifname")
_TARGETS = ("DROP", "REJECT")


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain by its names, as nft commands want them, and the hook it belongs to."""

    family: str
    table: str
    name: str
    hook: str = field(default=FORWARD, compare=False)

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Opening:
    """What is to be accepted in chains of a hook: packets of one of our links, all or those to a
    port. `direction` is iifname or oifname."""

    hook: str
    direction: str
    link: str
    protocol: str = ""
    port: int = 0

    def __str__(self) -> str:
        port = f" {self.protocol} dport {self.port}" if self.port else ""
        return f'{self.direction} "{self.link}"{port}'


@dataclass(frozen=True, slots=True)
class Outcome:
    """Sentences: what was made, and what could not be."""

    done: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def forwarded(link: str) -> tuple[Opening, ...]:
    """What is forwarded from and to a link; our own table keeps new connections to it out."""
    return (Opening(FORWARD, "iifname", link), Opening(FORWARD, "oifname", link))


@dataclass(frozen=True, slots=True)
class Lack:
    """A chain that drops packets and does not have exactly the rules it should have."""

    chain: Chain
    wanted: tuple[Opening, ...]
    stale: tuple[int, ...]
    """Handles of the rules of ours that are there."""

    def commands(self, comment: str) -> str:
        """What puts it right."""
        lines = [f"delete rule {self.chain} handle {handle}\n" for handle in self.stale]
        lines += [
            f'insert rule {self.chain} {opening} accept comment "{comment}"\n'
            for opening in self.wanted
        ]
        return "".join(lines)


def lacking(nft: Nft, openings: Iterable[Opening]) -> list[Lack]:
    """Every foreign drop that lacks rules. Raises Unavailable."""
    wanted = tuple(openings)
    links = {opening.link for opening in wanted}
    found = []
    for chain in sorted(dropping(nft), key=str):
        here = {opening for opening in wanted if opening.hook == chain.hook}
        rules = list(_ours(nft, chain, links.__contains__))
        if {opening for _, opening in rules} != here or len(rules) != len(here):
            stale = tuple(handle for handle, _ in rules)
            found.append(Lack(chain, tuple(sorted(here, key=str)), stale))
    return found


def ensure(nft: Nft, openings: Iterable[Opening], comment: str) -> Outcome:
    """Put the rules before every foreign drop that lacks them. Raises Unavailable when nothing
    can be listed."""
    done, refused = [], []
    for lack in lacking(nft, openings):
        chain, kind = lack.chain, _KINDS[lack.chain.hook]
        try:
            nft.run(lack.commands(comment))
            done.append(f"Chain {chain} drops {kind} traffic: rules there accept this node's.")
        except Unavailable as error:
            reason = error.cause.rstrip(".")
            refused.append(f"Chain {chain} drops {kind} traffic and cannot be edited: {reason}.")
    return Outcome(tuple(done), tuple(refused))


def remove(nft: Nft, cluster: str) -> None:
    """Take all rules of the cluster out again. Raises Unavailable."""
    links = (naming.host_uplinks(cluster), naming.host_switch(cluster))
    for item in nft.objects("list chains"):
        if found := item.get("chain"):
            chain = Chain(str(found["family"]), str(found["table"]), str(found["name"]))
            if chain.table.startswith("stackd_"):
                continue
            rules = _ours(nft, chain, lambda link: link.startswith(links))
            commands = [f"delete rule {chain} handle {handle}\n" for handle, _ in rules]
            if commands:
                nft.run("".join(commands))


def _ours(nft: Nft, chain: Chain, own: Callable[[str], bool]) -> Iterator[tuple[int, Opening]]:
    """Handle and meaning of the rules that accept one of our links. Their comment is for people:
    after an iptables-restore nft does not show it any more."""
    for rule in rules_of(nft, chain):
        opening = _opening(chain.hook, rule)
        if opening is not None and own(opening.link):
            yield int(str(rule["handle"])), opening


def _opening(hook: str, rule: Mapping[str, object]) -> Opening | None:
    """What a rule accepts, if it is one that we could have made."""
    direction = link = protocol = ""
    port = 0
    statements = _statements(rule)
    if not any("accept" in statement for statement in statements):
        return None
    for statement in statements:
        match statement.get("match"):
            case {"left": {"meta": {"key": str() as key}}, "right": str() as right}:
                if key in _DIRECTIONS:
                    direction, link = key, right
            case {
                "left": {"payload": {"protocol": str() as protocol, "field": "dport"}},
                "right": int() as port,
            }:
                pass
            case _:
                pass
    return Opening(hook, direction, link, protocol, port) if link else None


def _statements(rule: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = rule.get("expr")
    return found if isinstance(found, list) else []


def rules_of(nft: Nft, chain: Chain) -> list[Mapping[str, object]]:
    """The rules of a chain as libnftables' objects."""
    try:
        found = nft.objects(f"list chain {chain}")
    except Unavailable:
        return []  # the chain has gone, or nft cannot show another tool's rules
    return [item["rule"] for item in found if "rule" in item]


def dropping(nft: Nft) -> set[Chain]:
    """Others' chains that drop what is forwarded or comes in, as where rules must go: the chain
    itself, or Docker's chain for its users."""
    chains = [item["chain"] for item in nft.objects("list chains") if "chain" in item]
    user_chains = {(c["family"], c["table"]) for c in chains if c["name"] == _DOCKER_USER}
    found = set()
    for item in chains:
        family, table, hook = str(item["family"]), str(item["table"]), str(item.get("hook"))
        if hook not in (FORWARD, INPUT) or family not in ("ip", "inet"):
            continue
        chain = Chain(family, table, str(item["name"]), hook)
        if table.startswith("stackd_") or not (item.get("policy") == "drop" or _ends(nft, chain)):
            continue
        docker = hook == FORWARD and (item["family"], item["table"]) in user_chains
        found.add(Chain(family, table, _DOCKER_USER) if docker else chain)
    return found


def _ends(nft: Nft, chain: Chain) -> bool:
    """Whether the last rule drops or rejects whatever comes to it."""
    rules = rules_of(nft, chain)
    if not rules:
        return False
    drops = False
    for statement in _statements(rules[-1]):
        match statement:
            case {"match": _} | {"xt": {"type": "match"}}:
                return False
            case {"drop": _} | {"reject": _}:
                drops = True
            case {"xt": {"type": "target", "name": str() as name}}:
                drops = name in _TARGETS
            case _:
                pass
    return drops
