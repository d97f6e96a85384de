"""Git repositories that declare stacks."""

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from stackd.core.model.record import Record


class Forge(enum.StrEnum):
    """Where a repository is hosted: who is told the status of a commit, and how."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


class CommitState(enum.StrEnum):
    """What a forge is told of a commit."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    SUPERSEDED = "superseded"
    """A later commit declared something else before this one had come to its end."""


class Repository(Record, frozen=True, kw_only=True):
    """A Git source as it was added."""

    TABLE: ClassVar[str] = "repositories"
    name: str
    url: str
    """https or ssh URL, scp-like, or an absolute local path (root socket only)."""
    local: bool = False
    path: str = ""
    """Folder in the repository; empty = the root."""
    ref: str = ""
    """Branch or tag; empty = the remote's HEAD."""
    interval: float = 15.0
    """Seconds between polls."""
    prune: bool = False
    allow_empty: bool = False
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)
    credential: bytes = b""
    """Sealed ssh key or token, webhook secret, status token; empty = none."""
    webhook: bool = False
    """There is a webhook secret among them: /hooks/NAME takes calls."""
    known_hosts: str = ""
    forge: Forge | None = None
    """Who is told the status of each commit; None = nobody."""
    status_url: str = ""
    """The repository in the forge's API."""
    manual: bool = False
    """A commit is deployed only once a person has approved the hash of its plan."""
    revert_branch: str = ""
    """Where the revert of a refused commit is pushed; empty = nowhere."""
    added: float = 0
    by: str = ""

    @property
    def key(self) -> str:
        return self.name


class RepositoryStatus(Record, frozen=True, kw_only=True):
    """What the source loop last saw."""

    TABLE: ClassVar[str] = "repository_status"
    name: str
    commit: str = ""
    """Newest commit processed."""
    checked: float = 0
    processed: float = 0
    error: str = ""
    problems: tuple[str, ...] = ()
    """`file:line:column: text` for each file that was refused."""
    files: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Stack file -> stack name at `commit`."""
    ancestors: tuple[str, ...] = ()
    """Commits before that one, newest first (at most 200)."""
    skipped: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Ancestors that were not processed, because a newer commit came along -> the stacks that had
    other content there than at the next newer commit that was."""
    invalid: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Stack file that is not valid -> the commit since which it is not; '' = from the beginning."""
    waiting: str = ""
    """The commit that waits for approval; empty = none."""
    plan: str = ""
    """The hash that approves it."""
    planned: tuple[str, ...] = ()
    """What it would change, a line for each stack."""
    plans: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Stack -> hash of its plan, of the commit that waits or was approved last."""
    approved: str = ""
    """The commit that was approved last."""
    sync_requested: int = 0
    sync_done: int = 0
    sync_pull: bool = False

    @property
    def key(self) -> str:
        return self.name


class CommitReport(Record, frozen=True, kw_only=True):
    """What a forge has been told of a commit last."""

    TABLE: ClassVar[str] = "commit_reports"
    repository: str
    commit: str
    state: CommitState
    kind: str = ""
    """The phase that it told of."""
    text: str = ""
    sent: float = 0
    """Unix seconds."""

    @property
    def key(self) -> str:
        return f"{self.repository}/{self.commit}"


class Revert(Record, frozen=True, kw_only=True):
    """What became of undoing a refused commit: done once."""

    TABLE: ClassVar[str] = "reverts"
    repository: str
    commit: str
    """The refused one."""
    reason: str
    branch: str = ""
    revert: str = ""
    """The commit that was pushed to `branch`; empty when `problem` says why there is none."""
    problem: str = ""
    at: float = 0

    @property
    def key(self) -> str:
        return f"{self.repository}/{self.commit}"
