"""Forward policies of others (Docker, ufw, firewalld) that would swallow a node's traffic.

An accept in our own table does not override a drop elsewhere, so two marked rules go into the
chain that drops. Chains of the legacy iptables modules are not seen here. Used by `host.uplink`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stackd.errors import Unavailable
from stackd.host.nftables import Nft

_DOCKER_USER = "DOCKER-USER"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain by its names, as nft commands want them."""

    family: str
    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def ensure(nft: Nft, uplink: str, comment: str) -> list[str]:
    """Put the two rules before every foreign drop that lacks them; a sentence for each chain."""
    done = []
    for chain in sorted(dropping(nft), key=str):
        if sum(1 for _ in _marked(nft, chain, comment)) >= 2:
            continue
        _delete(nft, chain, comment)
        rules = (
            f'insert rule {chain} iifname "{uplink}" accept comment "{comment}"\n'
            f'insert rule {chain} oifname "{uplink}" ct state established,related accept '
            f'comment "{comment}"\n'
        )
        try:
            nft.run(rules)
            done.append(f"Chain {chain} drops forwarded traffic: two rules accept this node's.")
        except Unavailable as error:
            done.append(f"Chain {chain} drops this node's traffic and cannot be edited: {error}")
    return done


def remove(nft: Nft, mark: str) -> None:
    """Take all rules whose comment begins so out again."""
    for item in nft.objects("list chains"):
        if found := item.get("chain"):
            chain = Chain(str(found["family"]), str(found["table"]), str(found["name"]))
            if not chain.table.startswith("stackd_"):
                _delete(nft, chain, mark)


def _delete(nft: Nft, chain: Chain, mark: str) -> None:
    commands = [f"delete rule {chain} handle {handle}\n" for handle in _marked(nft, chain, mark)]
    if commands:
        nft.run("".join(commands))


def _marked(nft: Nft, chain: Chain, mark: str) -> Iterator[int]:
    for rule in _rules(nft, chain):
        if str(rule.get("comment", "")).startswith(mark):
            yield int(str(rule["handle"]))


def _rules(nft: Nft, chain: Chain) -> list[Mapping[str, object]]:
    try:
        found = nft.objects(f"list chain {chain}")
    except Unavailable:
        return []  # the chain has gone, or nft cannot show another tool's rules
    return [item["rule"] for item in found if "rule" in item]


def dropping(nft: Nft) -> set[Chain]:
    """Others' chains that drop forwarded packets, as where rules must go: the chain itself, or
    Docker's chain for its users."""
    chains = [item["chain"] for item in nft.objects("list chains") if "chain" in item]
    user_chains = {(c["family"], c["table"]) for c in chains if c["name"] == _DOCKER_USER}
    found = set()
    for item in chains:
        family, table = str(item["family"]), str(item["table"])
        if item.get("hook") != "forward" or family not in ("ip", "inet"):
            continue
        chain = Chain(family, table, str(item["name"]))
        if table.startswith("stackd_") or not (item.get("policy") == "drop" or _ends(nft, chain)):
            continue
        docker = (item["family"], item["table"]) in user_chains
        found.add(Chain(family, table, _DOCKER_USER) if docker else chain)
    return found


def _ends(nft: Nft, chain: Chain) -> bool:
    """Whether the last rule drops or rejects whatever comes to it."""
    rules = _rules(nft, chain)
    if not rules:
        return False
    statements = rules[-1].get("expr")
    if not isinstance(statements, list):
        return False
    kinds = {kind for statement in statements for kind in statement}
    return bool(kinds & {"drop", "reject"}) and "match" not in kinds
