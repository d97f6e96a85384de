"""Stacks, their numbered immutable releases, and the revisions of services in them."""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.container import ContainerSpec
from stackd.core.model.ids import RevisionId, service_key
from stackd.core.model.record import Record, Value
from stackd.core.model.stack import ServiceSpec, StackSpec


class Stack(Record, frozen=True, kw_only=True):
    """A stack's head: who owns it and which release is declared now."""

    TABLE: ClassVar[str] = "stacks"
    name: str
    owner: str
    """`cli` or `repo:NAME`."""
    release: int
    """The current release; its services are what the loops make true."""
    commit: str = ""
    """Commit of the current release; empty when it came from the command line."""
    seen_commit: str = ""
    """Newest commit of the owner that has been processed for this stack."""
    path: str = ""
    """File in the repository."""
    problem: str = ""
    """Why `seen_commit` was not deployed; empty when it was."""
    problem_since: str = ""
    """The first commit in a row that was not deployed."""
    override: str = ""
    """Set by `apply --override`: who and when; cleared by the next commit of that file."""
    removing: bool = False
    """`rm` asked: all tasks go, then this record."""
    remove_volumes: bool = False
    back: bool = False
    """The current release was gone back to: a freeze does not hold it up."""

    @property
    def key(self) -> str:
        return self.name


class ServiceRelease(Value, frozen=True, kw_only=True):
    """One service in a release: its whole spec and the revision of its container."""

    spec: ServiceSpec
    revision: RevisionId


class Release(Record, frozen=True, kw_only=True):
    """One immutable release of a stack: everything that was declared, by one key."""

    TABLE: ClassVar[str] = "releases"
    stack: str
    number: int
    spec: StackSpec
    services: Mapping[str, ServiceRelease]
    commit: str = ""
    at: float = 0
    """Unix seconds, for display."""
    by: str = ""
    """Principal."""
    cause: str = ""
    content_hash: str = ""
    """Hash of the rendered content; equal hashes declare the same."""

    @property
    def key(self) -> str:
        return f"{self.stack}/{self.number:08d}"


class Revision(Record, frozen=True, kw_only=True):
    """An immutable container of a service: image by digest, grants with versions."""

    TABLE: ClassVar[str] = "revisions"
    stack: str
    service: str
    id: RevisionId
    container: ContainerSpec
    image_name: str = ""
    """The image as the stack file wrote it, for display."""
    release: int = 0
    """Of a revision that no release declares (a rollback past a revoked content made it): the
    release whose names of volumes and contents are meant."""

    @property
    def key(self) -> str:
        return f"{self.stack}/{self.service}/{self.id}"


class Digest(Record, frozen=True, kw_only=True):
    """What an image string of a service was resolved to, once, until it changes or --pull."""

    TABLE: ClassVar[str] = "digests"
    stack: str
    service: str
    image: str
    digest: str
    """`sha256:…` of the manifest (or index) as the registry or local name gave it."""
    local: bool = False

    @property
    def key(self) -> str:
        return service_key(self.stack, self.service)


class ContentKind(enum.StrEnum):
    """The two kinds of content that become files in a task."""

    CONFIG = "config"
    SECRET = "secret"


class ContentVersion(Record, frozen=True, kw_only=True):
    """One immutable version of a config or secret. `value` is sealed for a secret."""

    TABLE: ClassVar[str] = "contents"
    kind: ContentKind
    name: str
    """The stable cluster-wide name."""
    version: str
    value: bytes
    """Clear for a config; AES-256-GCM sealed for a secret."""
    size: int
    created: float = 0
    by: str = ""
    stack: str = ""
    """The stack that declares it; empty for those made by `secret create`, `config create`."""
    revoked: bool = False
    """`secret rm --version`: never used again; the value is emptied."""

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}/{self.version}"


class ContentHead(Record, frozen=True, kw_only=True):
    """The current version of a config or secret name."""

    TABLE: ClassVar[str] = "content_heads"
    kind: ContentKind
    name: str
    version: str
    stack: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"


class Hold(Record, frozen=True, kw_only=True):
    """A revision that must not be deployed again until `retry`."""

    TABLE: ClassVar[str] = "holds"
    stack: str
    service: str
    revision: RevisionId
    reason: str
    at: float
    by: str = ""

    @property
    def key(self) -> str:
        return f"{self.stack}/{self.service}/{self.revision}"


class Freeze(Record, frozen=True, kw_only=True):
    """No new rollout begins, in one stack or in all."""

    TABLE: ClassVar[str] = "freezes"
    ALL: ClassVar[str] = "*"
    """The key of the freeze of all stacks; no stack can be called so."""
    stack: str = ""
    """Empty = all stacks."""
    reason: str
    by: str
    at: float
    until: float = 0
    """Unix seconds, the manager's clock; 0 = until `unfreeze`."""

    @property
    def key(self) -> str:
        return self.stack or self.ALL


class Override(Record, frozen=True, kw_only=True):
    """Fields set by hand beside the declared ones; ends when the declared value changes."""

    TABLE: ClassVar[str] = "overrides"
    stack: str
    service: str
    replicas: int
    declared: int
    """The declared value when it was set."""
    by: str
    at: float

    @property
    def key(self) -> str:
        return service_key(self.stack, self.service)
