"""What exists for the life of a manager's process, whether it leads or not.

Made by `manager.main`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stackd.aio.layout import ClusterLayout
from stackd.core.model.cluster import ClusterFile
from stackd.manager.hooks import HookReceiver
from stackd.pki import authority as pki
from stackd.store.seal import Sealer
from stackd.wire.control import Method


@dataclass(slots=True)
class Standing:
    """What the HTTP port, which outlives terms, tells and reaches of this manager."""

    serving: bool = False
    hooks: HookReceiver | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    """Empty while it does not lead."""


@dataclass(frozen=True, slots=True)
class Manager:
    """What exists for the life of the process."""

    layout: ClusterLayout
    cluster: ClusterFile
    sealer: Sealer
    authority: pki.Authority
    standing: Standing = field(default_factory=Standing)

    @property
    def address(self) -> str:
        """Where agents find this manager."""
        return f"{self.cluster.address}:{self.cluster.control_port}"

    @property
    def private(self) -> Path:
        """A folder in memory for files that hold credentials for the length of one command."""
        return Path("/dev/shm", f"stackd-{self.cluster.id}")

    @property
    def checks(self) -> Path:
        """A folder in memory where commands of analyses, which are not root, may write."""
        return Path("/dev/shm", f"stackd-{self.cluster.id}-checks")
