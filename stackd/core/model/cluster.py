"""What a cluster on this machine was set up with: `cluster.json` in its data folder."""

from typing import ClassVar

from stackd.core.model.record import Record, Value


class ClusterFile(Value, frozen=True, kw_only=True):
    """Chosen once by `up` and kept, so that the next `up` finds the same ports and ranges."""

    id: str
    nodes: int = 1
    control_port: int = 7420
    http_port: int = 7421
    enrol_port: int = 7422
    """Where joiners ask for a certificate."""
    vxlan_port: int = 4789
    pool: str = "10.64.0.0/10"
    address: str = "127.0.0.1"
    """Underlay IPv4 address of the first node."""
    underlay: str = ""
    """CIDR of the network between embedded nodes; '' while there is only one."""
    http_listen: str = ""
    """HOST:PORT where the JSON API is served besides loopback; '' = nowhere."""
    http_cert: str = ""
    """Paths of its certificate (PEM, with its chain) and key; '' = without TLS, loopback only."""
    http_key: str = ""
    heartbeat: float = 5.0
    """Seconds between an agent's signs of life."""


class JoinSecrets(Record, frozen=True, kw_only=True):
    """The secret parts of the two join tokens, sealed."""

    TABLE: ClassVar[str] = "join_secrets"
    worker: bytes
    manager: bytes

    @property
    def key(self) -> str:
        return "current"
