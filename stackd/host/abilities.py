"""What the kernel and runc of this machine can really do, found by doing it: `stackd doctor`.

Links and rules are made in a network namespace that goes with its descriptor; on the machine
itself nothing is changed.
"""

import os
import re
import shutil
import threading
from collections.abc import Callable

from stackd.aio import proc
from stackd.errors import Unavailable
from stackd.host import netns, rtnl
from stackd.host.netlink import ROUTE, Message, NetlinkSocket
from stackd.host.nftables import Nft
from stackd.host.preflight import Finding

FIXES = (
    ((1, 1, 12), "CVE-2024-21626", "deb12u1"),
    ((1, 2, 0), "CVE-2024-45310", ""),
    ((1, 2, 8), "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", ""),
)
"""runc's version with the fix, the faults, and the Debian revision that has it too."""
_MAC = "02:00:00:00:00:01"
_RULES = """
table inet probe {
  map vips { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain pre { type nat hook prerouting priority dstnat; policy accept;
    ip daddr . meta l4proto . th dport vmap @vips; }
  chain pick { dnat ip to numgen random mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }; }
  chain out { type filter hook forward priority filter; policy accept;
    ct state established accept; }
  chain post { type nat hook postrouting priority srcnat; masquerade; }
}
"""


async def examine() -> list[Finding]:
    """Everything that is tried out. Needs root."""
    return [await _runc(), *_network()]


async def _runc() -> Finding:
    program = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return Finding("runc version", "runc is missing", remedy="Install it: apt-get install runc")
    done = await proc.run(proc.Command((program, "--version")))
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    commit = next((line for line in lines if line.startswith("commit:")), "")
    return judge_runc(lines[0] if lines else "", commit)


def judge_runc(line: str, commit: str) -> Finding:
    """What is known of the faults of the runc that calls itself so."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", line)
    if found is None:
        return Finding("runc version", f"not understood: {line}", remedy="Install runc 1.2.8.")
    version = tuple(map(int, found.groups()))
    faults = [
        names
        for fixed, names, debian in FIXES
        if version < fixed and not (debian and debian in commit)
    ]
    shown = ".".join(map(str, version))
    if not faults:
        return Finding("runc version", shown)
    return Finding(
        "runc version",
        f"{shown} lacks the fixes of {', '.join(faults)}",
        remedy="stackd checks root file systems itself; take a newer runc when there is one.",
    )


def _network() -> list[Finding]:
    tried: tuple[tuple[str, str, Callable[[], None]], ...] = (
        ("bridges", "bridge", _bridge),
        ("VXLAN", "vxlan", _vxlan),
        ("veth pairs", "veth", _veth),
        ("nftables", "nf_tables, nft_nat, nft_numgen, nft_masq", _nftables),
    )
    return [_try(subject, modules, work) for subject, modules, work in tried]


def _try(subject: str, modules: str, work: Callable[[], None]) -> Finding:
    try:
        namespace, _ = netns.create(work)
    except (OSError, Unavailable) as error:
        remedy = f"Load the kernel modules: {modules}."
        return Finding(subject, f"cannot be made: {error}", fatal=True, remedy=remedy)
    os.close(namespace)
    return Finding(subject, "made in a network namespace")


def _links(*requests: Message) -> None:
    socket = NetlinkSocket(ROUTE)
    try:
        socket.request(requests)
    finally:
        socket.close()


def _bridge() -> None:
    _links(rtnl.add_bridge("probe", _MAC, 1450))


def _vxlan() -> None:
    _links(rtnl.add_vxlan("probe", 1, "127.0.0.1", 4789))


def _veth() -> None:
    here = netns.current()
    try:
        _links(rtnl.add_veth(rtnl.Veth("probe0", "probe1", here, 1450)))
    finally:
        os.close(here)


def _nftables() -> None:
    nft = Nft(threading.Lock())
    try:
        nft.run(_RULES)
    finally:
        nft.close()
