"""Firewalls of others on this machine and what they mean for a cluster: told by `up` and `doctor`.

nft's chains are read; the legacy iptables modules are asked by their own program, because nft does
not show them. Nothing is changed.
"""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from stackd.aio import proc
from stackd.core.network import firewall, naming
from stackd.errors import Unavailable
from stackd.host import foreignrules
from stackd.host.foreignrules import FORWARD, INPUT, Chain, Lack, Opening
from stackd.host.nftables import Nft
from stackd.host.preflight import Finding

PORTS = (("tcp", 7420), ("tcp", 7422), ("udp", 4789))
"""What nodes on other machines reach, unless a cluster has other ports: manager, joining, VXLAN."""
_LEGACY_TABLES = Path("/proc/thread-self/net/ip_tables_names")
_LEGACY = ("iptables-legacy", "iptables")


async def examine(
    ports: Sequence[firewall.Port] = PORTS, cluster: str = "", openings: Sequence[Opening] = ()
) -> list[Finding]:
    """All of it. `cluster` and `openings`: of the one that runs here, '' and () without."""
    nft = Nft(threading.Lock())
    try:
        found = [_own(nft, openings), _incoming(nft, ports)]
    except Unavailable as error:
        cause = error.cause.rstrip(".")
        found = [Finding("firewall", f"cannot be read: {cause}", remedy="Check nftables.")]
    finally:
        nft.close()
    return [*found, await _legacy(cluster)]


def _own(nft: Nft, openings: Sequence[Opening]) -> Finding:
    """Others' drops on the way of this machine's own nodes."""
    chains = sorted(map(str, foreignrules.dropping(nft)))
    if not chains:
        return Finding("foreign drops", "no other nftables chain drops forwarded or new packets")
    lacking = foreignrules.lacking(nft, openings) if openings else []
    if lacking:
        names = ", ".join(str(lack.chain) for lack in lacking)
        return Finding(
            "foreign drops",
            f"{names} drops packets of this cluster and could not be given its rules",
            remedy=f"Add them: {'; '.join(map(_command, lacking))}.",
        )
    does = "has" if openings else "adds"
    verb = "drops" if len(chains) == 1 else "drop"
    text = (
        f"{', '.join(chains)} {verb} packets; a cluster {does} accepting rules for its links there"
    )
    return Finding("foreign drops", text)


def _command(lack: Lack) -> str:
    return "; ".join(f"nft 'insert rule {lack.chain} {rule} accept'" for rule in lack.wanted)


def _incoming(nft: Nft, ports: Sequence[firewall.Port]) -> Finding:
    """Ports that other machines need and that a chain keeps shut."""
    for chain in sorted(foreignrules.dropping(nft), key=str):
        if chain.hook != INPUT:
            continue
        if shut := firewall.shut(_lines(nft, chain), chain.name, ports):
            names = ", ".join(f"{protocol.upper()} {port}" for protocol, port in shut)
            rules = "; ".join(f"nft 'insert rule {chain} {p} dport {n} accept'" for p, n in shut)
            return Finding(
                "incoming traffic",
                f"{chain} shuts {names}: nodes on other machines cannot reach this one",
                remedy=f"If there are any: {rules}. Each published port needs such a rule too.",
            )
    return Finding("incoming traffic", "no other nftables chain shuts the cluster's ports")


def _lines(nft: Nft, chain: Chain) -> dict[str, list[str]]:
    """Lines of all chains in the table of a chain."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in nft.run(f"list table {chain.family} {chain.table}").splitlines():
        words = line.split()
        if words[:1] == ["chain"]:
            current = found.setdefault(words[1], [])
        elif words and words[0] != "type":
            current.append(line.strip())
    return found


async def _legacy(cluster: str) -> Finding:
    """Rules of the old iptables, which every packet passes as well."""
    subject = "legacy iptables"
    try:
        tables = _LEGACY_TABLES.read_text().split()
    except OSError:
        tables = []
    if "filter" not in tables:  # asking would make the table
        return Finding(subject, "not in use")
    program = next(filter(None, map(shutil.which, _LEGACY)), None)
    if program is None:
        text = "in use, and its rules cannot be shown: iptables is not installed"
        return Finding(subject, text, remedy="Make sure that it does not drop forwarded packets.")
    done = await proc.run(proc.Command((program, "-S")))
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    dropped = [hook for hook in (FORWARD, INPUT) if f"-P {hook.upper()} DROP" in lines]
    rules = [rule for rule in _legacy_rules(dropped, cluster or "LINK") if rule not in lines]
    if not rules:
        return Finding(subject, "in use; it lets the cluster's packets through")
    added = "; ".join(f"{Path(program).name} {rule.replace('-A', '-I', 1)}" for rule in rules)
    return Finding(
        subject,
        f"drops packets by policy ({', '.join(dropped)}), which nftables neither shows nor changes",
        remedy=f"Let the cluster's links through: {added}.",
    )


def _legacy_rules(hooks: Sequence[str], cluster: str) -> list[str]:
    """Rules that let all links of a cluster through, as `iptables -S` shows them."""
    links = f"{naming.host_uplinks(cluster)[:-1]}+"
    rules = {
        FORWARD: [f"-A FORWARD -i {links} -j ACCEPT", f"-A FORWARD -o {links} -j ACCEPT"],
        INPUT: [f"-A INPUT -i {links} -j ACCEPT"],
    }
    return [rule for hook in hooks for rule in rules[hook]]
