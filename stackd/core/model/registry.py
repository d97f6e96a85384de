"""Image registries that the cluster has credentials or rules for."""

from typing import ClassVar

from stackd.core.model.record import Record


class RegistryLogin(Record, frozen=True, kw_only=True):
    """`registry login HOST`. `insecure`: plain HTTP or an unknown certificate is allowed."""

    TABLE: ClassVar[str] = "registry_logins"
    host: str
    username: str = ""
    password: bytes = b""
    """Sealed; empty = no credentials, only `insecure`."""
    insecure: bool = False
    at: float = 0
    by: str = ""

    @property
    def key(self) -> str:
        return self.host
