"""Names of what a node's network leaves visible on its host: all carry the cluster's id."""

UPLINK = "up0"
"""The uplink inside the data-plane namespace."""


def host_uplink(cluster: str, index: int) -> str:
    """The uplink on the host, at most 15 bytes."""
    return f"{cluster[:8]}u{index}"


def host_vxlan(cluster: str, network: str) -> str:
    """A VXLAN device while it is still in the host's namespace."""
    return f"{cluster[:4]}v{network[:8]}"


def data_table(cluster: str) -> str:
    """The nft table in the data-plane namespace."""
    return f"stackd_{cluster}"


def host_table(cluster: str, index: int) -> str:
    """The nft table in the host's namespace."""
    return f"stackd_{cluster}_{index}"


def rule_comment(cluster: str, index: int) -> str:
    """Marks our rules in chains of others."""
    return f"stackd {cluster} {index}"
