"""Tokens for the JSON API: who holds one may do what, with which stacks, and until when."""

import enum
from typing import ClassVar

from stackd.core.model.record import Record


class Scope(enum.StrEnum):
    """What a token is for. Each also lets its bearer see the stacks that it names."""

    READ = "read"
    DEPLOY = "deploy"
    """Declare, plan, scale, retry, freeze, set toggles."""
    PROMOTE = "promote"
    """Let a rollout go on: promote, resume."""
    ABORT = "abort"
    """Stop a rollout or take it back: abort, pause, rollback."""
    FLAGS = "flags"
    """Set the share of feature toggles that stacks declare."""
    APPROVE = "approve"
    """Let a commit go that waits in a repository. It may declare any stack: only for `*`."""


EVERY_STACK = "*"
"""Stands for all stacks, also those to come."""


class ApiToken(Record, frozen=True, kw_only=True):
    """A token by its name; what its bearer shows is not kept, only the hash of it."""

    TABLE: ClassVar[str] = "api_tokens"
    name: str
    hash: str
    """SHA-256 of the secret, in hex."""
    scopes: tuple[Scope, ...]
    stacks: tuple[str, ...]
    """Names of stacks, which need not exist yet, or `*`."""
    expires: float
    """Unix seconds, the manager's clock."""
    created: float
    by: str

    @property
    def key(self) -> str:
        return self.name

    def covers(self, stack: str) -> bool:
        """Whether it is for `stack`; '' = what concerns all of them."""
        return EVERY_STACK in self.stacks or (bool(stack) and stack in self.stacks)
