"""Where everything is kept: one place that knows the paths of a cluster and of its nodes."""

from dataclasses import dataclass
from pathlib import Path

RUN_ROOT = Path("/run/stackd")


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """Paths of one cluster on this machine. `data` is 0700 and durable; `run` holds sockets and
    pid files, is short, and may vanish at a reboot."""

    data: Path
    cluster: str

    @property
    def run(self) -> Path:
        return RUN_ROOT / self.cluster

    @property
    def control_socket(self) -> Path:
        """The manager's control API for root, 0600."""
        return self.run / "control.sock"

    @property
    def manager(self) -> Path:
        """The manager's own state: store.db, keys, CA, git mirrors."""
        return self.data / "manager"

    @property
    def blobs(self) -> Path:
        """The cluster's blob store: blobs/sha256/<hex>."""
        return self.data / "blobs"

    @property
    def switch(self) -> Path:
        """The network namespace of the switch between embedded nodes."""
        return self.run / "switch.netns"

    def node(self, name: str) -> "NodeLayout":
        """The paths of one node of this cluster on this machine."""
        return NodeLayout(self, name)


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """Paths of one node. Everything below `run` is on a tmpfs that the node mounts itself."""

    cluster: ClusterLayout
    name: str

    @property
    def data(self) -> Path:
        return self.cluster.data / "nodes" / self.name

    @property
    def run(self) -> Path:
        return self.cluster.run / self.name

    @property
    def layers(self) -> Path:
        """layers/<diffID hex>: unpacked layers, shared by all containers of the node."""
        return self.data / "layers"

    @property
    def images(self) -> Path:
        """images/<digest hex>: config and layer list of images present here."""
        return self.data / "images"

    @property
    def containers(self) -> Path:
        """containers/<task>/{upper,work,merged}: writable layers."""
        return self.data / "containers"

    @property
    def logs(self) -> Path:
        """logs/<task>/ctr.log and its rotated files."""
        return self.data / "logs"

    @property
    def volumes(self) -> Path:
        """volumes/<cluster-wide name>/data."""
        return self.data / "volumes"

    @property
    def bundles(self) -> Path:
        """Container bundles, on tmpfs."""
        return self.run / "b"

    @property
    def exits(self) -> Path:
        """conmon's exit files."""
        return self.run / "exits"

    @property
    def runc(self) -> Path:
        """runc's state root."""
        return self.run / "runc"

    @property
    def spawner_socket(self) -> Path:
        return self.run / "spawn.sock"

    @property
    def xds_socket(self) -> Path:
        return self.run / "xds.sock"

    @property
    def cgroup(self) -> str:
        """Parent of every cgroup of this node, in each hierarchy."""
        return f"/stackd-{self.cluster.cluster}/{self.name}"

    @property
    def agent_cgroup(self) -> str:
        """Where the agent and its proxy are."""
        return f"/stackd-{self.cluster.cluster}/agent/{self.name}"

    @property
    def monitor_cgroup(self) -> str:
        """Where the spawner and the container monitors are."""
        return f"/stackd-{self.cluster.cluster}/monitor/{self.name}"

    @property
    def netns(self) -> Path:
        """The network namespace that is the host of an embedded node other than the first."""
        return self.cluster.run / f"{self.name}.netns"

    @property
    def off(self) -> Path:
        """There while an embedded node is switched off."""
        return self.cluster.run / f"{self.name}.off"
