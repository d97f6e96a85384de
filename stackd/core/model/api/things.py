"""Repositories, nodes, contents, networks, volumes, images, registries, the cluster."""

from collections.abc import Mapping

import msgspec

from stackd.core.model.api.base import Answer
from stackd.core.model.record import Value


class RepoAddRequest(Value, frozen=True, kw_only=True):
    """`repo add`. `credential` is the content of the key or token file."""

    name: str
    url: str
    path: str = ""
    ref: str = ""
    interval: float = 15.0
    prune: bool = False
    allow_empty: bool = False
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    ssh_key: bytes = b""
    token: bytes = b""
    known_hosts: str = ""
    webhook_secret: bytes = b""
    status: str = ""
    """The forge that is told the status of commits: github, gitlab, gitea."""
    status_url: str = ""
    status_token: bytes = b""
    revert_branch: str = ""
    approve: str = ""
    """`manual`, or empty."""

    def __repr__(self) -> str:
        return f"RepoAddRequest({self.name})"


class RepoRequest(Value, frozen=True, kw_only=True):
    """`repo rm`, `repo sync`."""

    name: str
    prune: bool = False
    allow_empty: bool = False
    pull: bool = False
    wait: bool = False


class ApproveRequest(Value, frozen=True, kw_only=True):
    """`approve REPO HASH`."""

    name: str
    plan: str


class RepoRow(Answer, frozen=True, kw_only=True):
    """A line of `repo ls`."""

    name: str
    url: str
    ref: str
    path: str
    commit: str
    checked: str
    error: str
    problems: tuple[str, ...]
    stacks: tuple[str, ...]
    webhook: str = ""
    """Where its forge may call, on the manager's HTTP port."""
    status_url: str = ""
    """The API that is told the status of commits."""
    reverts: tuple[str, ...] = ()
    """What became of each refused commit."""
    approve: str = ""
    """`manual`, or empty."""
    waiting: str = ""
    """The commit that waits for approval."""
    plan: str = ""
    """The hash that approves it."""
    planned: tuple[str, ...] = ()
    """What it would change."""


class RepoRows(Answer, frozen=True, kw_only=True):
    """`repo ls`, `repo sync`."""

    repositories: tuple[RepoRow, ...]


class NodeRow(Answer, frozen=True, kw_only=True):
    """A line of `node ls`."""

    id: str
    name: str
    role: str
    availability: str
    state: str
    address: str
    tasks: int


class NodeRequest(Value, frozen=True, kw_only=True):
    """`node drain|activate|pause|label`. `availability` '' and labels not named stay as they are;
    a label with None goes."""

    name: str
    availability: str = ""
    labels: Mapping[str, str | None] = msgspec.field(default_factory=dict)


class NodeRows(Answer, frozen=True, kw_only=True):
    """`node ls`."""

    nodes: tuple[NodeRow, ...]
    heard: tuple[str, ...] = ()
    """Ids of those that have said what they run since the manager that answers began: until
    then a state is what the one before it knew."""


class ContentRequest(Value, frozen=True, kw_only=True):
    """`secret|config create|inspect|rm`; `kind` is `config` or `secret`."""

    kind: str
    name: str = ""
    value: bytes = b""
    version: str = ""
    show: bool = False

    def __repr__(self) -> str:
        return f"ContentRequest({self.kind} {self.name})"


class ContentRow(Answer, frozen=True, kw_only=True):
    """A config or secret; never a secret's value. `value` only for configs when asked."""

    kind: str
    name: str
    version: str
    versions: tuple[str, ...]
    stack: str
    created: str
    size: int
    used_by: tuple[str, ...]
    value: str | None = None


class ContentRows(Answer, frozen=True, kw_only=True):
    """`secret ls`, `config ls`."""

    items: tuple[ContentRow, ...]


class NetworkRow(Answer, frozen=True, kw_only=True):
    """A network."""

    id: str
    name: str
    stack: str
    subnet: str
    vni: int
    internal: bool
    used: int
    size: int


class NetworkRows(Answer, frozen=True, kw_only=True):
    """`network ls`."""

    networks: tuple[NetworkRow, ...]


class VolumeRow(Answer, frozen=True, kw_only=True):
    """A named volume on a node."""

    name: str
    node: str
    stack: str
    created: str
    used_by: tuple[str, ...]
    removing: bool = False


class VolumeRows(Answer, frozen=True, kw_only=True):
    """`volume ls`."""

    volumes: tuple[VolumeRow, ...]


class ImageRequest(Value, frozen=True, kw_only=True):
    """`image load|pull|inspect|rm`. `path` is a place on the manager's machine."""

    name: str = ""
    path: str = ""


class ImageRow(Answer, frozen=True, kw_only=True):
    """A local image name."""

    name: str
    digest: str
    size: int


class ImageRows(Answer, frozen=True, kw_only=True):
    """`image ls`, `image load`."""

    images: tuple[ImageRow, ...]


class LoginRequest(Value, frozen=True, kw_only=True):
    """`registry login HOST`."""

    host: str
    username: str
    password: str
    insecure: bool = False

    def __repr__(self) -> str:
        return f"LoginRequest({self.host})"


class RegistryRows(Answer, frozen=True, kw_only=True):
    """`registry ls`: host and user name, never a password."""

    registries: tuple[Mapping[str, str], ...]


class TokenRequest(Value, frozen=True, kw_only=True):
    """`token show|rotate worker|manager`."""

    role: str = "worker"


class ClusterAnswer(Answer, frozen=True, kw_only=True):
    """`cluster show`."""

    id: str
    version: str
    managers: tuple[str, ...]
    nodes: int
    stacks: int
    tasks: int
    settings: Mapping[str, str]
