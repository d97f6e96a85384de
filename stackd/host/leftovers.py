"""What a cluster or a node has made on a host, found by its name and removed by force.

Called by a node that is taken down, and by `down` itself for what a node that failed left behind.
"""

import errno
import threading
from pathlib import Path

from stackd.aio.layout import NodeLayout
from stackd.core.network import naming
from stackd.errors import Unavailable
from stackd.host import bundle, cgroups, containers, foreignrules, reap, rtnl
from stackd.host.forwarding import Forwarding
from stackd.host.netlink import ROUTE, NetlinkError, NetlinkSocket
from stackd.host.nftables import Nft


def reap_all(layout: NodeLayout) -> None:
    """Kill and remove every container of a node whose agent cannot. Raises Unavailable."""
    hierarchies = cgroups.discover()
    for task in containers.ids(layout, hierarchies):
        reap.reap(bundle.home(layout, task), hierarchies)


def sweep(cluster: str, shared: Path) -> None:
    """Remove a cluster's things from the network namespace of the calling process. Idempotent.
    Raises Unavailable."""
    nft, netlink = Nft(threading.Lock()), NetlinkSocket(ROUTE)
    try:
        remove(nft, netlink, cluster, shared)
        with Forwarding(shared) as forwarding:
            forwarding.forget(naming.host_tables(cluster))
    except NetlinkError as error:
        raise Unavailable(f"A link cannot be removed: {error.strerror}.") from error
    finally:
        netlink.close()
        nft.close()


def remove(nft: Nft, netlink: NetlinkSocket, cluster: str, shared: Path) -> None:
    """Tables, marked rules in others' chains, links (their routes go with them) and the claim on
    forwarding. Raises Unavailable, NetlinkError."""
    foreignrules.remove(nft, cluster)
    for line in nft.run("list tables").splitlines():  # nft's JSON of owned tables holds rubbish
        _, family, name = line.split()[:3]
        if name.startswith(naming.host_tables(cluster)):
            nft.run(f"delete table {family} {name}")
    prefixes = (naming.host_vxlan(cluster, ""), naming.host_uplinks(cluster))
    for name, link in rtnl.links(netlink).items():
        if name.startswith(prefixes) or name == naming.host_switch(cluster):
            netlink.request([rtnl.delete_link(link.index)], ignore=(errno.ENODEV,))
    with Forwarding(shared) as forwarding:
        forwarding.release(naming.host_tables(cluster))
