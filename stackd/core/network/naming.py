"""Names of what a node's network leaves visible on its host: all carry the cluster's id."""

import re

OWN_LINK = re.compile(r"[a-z][a-z0-9]{7}(u\d+|s)")
"""What the links of any cluster on a host are called: uplinks, and the link to the switch."""
UPLINK = "up0"
"""The uplink inside the data-plane namespace."""


def host_uplink(cluster: str, index: int) -> str:
    """The uplink on the host, at most 15 bytes."""
    return f"{host_uplinks(cluster)}{index}"


def host_uplinks(cluster: str) -> str:
    """How all uplinks of the cluster begin."""
    return f"{cluster[:8]}u"


def host_switch(cluster: str) -> str:
    """The host's link to the switch between embedded nodes."""
    return f"{cluster[:8]}s"


def switch_table(cluster: str) -> str:
    """The nft table for what embedded nodes send through the host."""
    return f"{host_tables(cluster)}switch"


def host_vxlan(cluster: str, network: str) -> str:
    """A VXLAN device while it is still in the host's namespace."""
    return f"{cluster[:4]}v{network[:8]}"


def data_table(cluster: str) -> str:
    """The nft table in the data-plane namespace."""
    return f"stackd_{cluster}"


def host_table(cluster: str, index: int) -> str:
    """The nft table in the host's namespace."""
    return f"{host_tables(cluster)}{index}"


def host_tables(cluster: str) -> str:
    """How all tables of the cluster in a host's namespace begin."""
    return f"stackd_{cluster}_"


def rule_comment(cluster: str, index: int) -> str:
    """Marks our rules in chains of others."""
    return f"{rule_mark(cluster)}{index}"


def rule_mark(cluster: str) -> str:
    """How all marks of the cluster begin."""
    return f"stackd {cluster} "
