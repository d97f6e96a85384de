"""What a cluster on this machine was set up with: `cluster.json` in its data folder."""

from stackd.core.model.record import Value


class ClusterFile(Value, frozen=True, kw_only=True):
    """Chosen once by `up` and kept, so that the next `up` finds the same ports and ranges."""

    id: str
    nodes: int = 1
    control_port: int = 7420
    http_port: int = 7421
    vxlan_port: int = 4789
    pool: str = "10.64.0.0/10"
    address: str = "127.0.0.1"
    """Underlay IPv4 address of the first node."""
    heartbeat: float = 5.0
    """Seconds between an agent's signs of life."""
