"""Requests and answers about tokens for the JSON API."""

from stackd.core.model.access import Scope
from stackd.core.model.api.base import Answer
from stackd.core.model.record import Value


class TokenCreateRequest(Value, frozen=True, kw_only=True):
    """`token create`. `seconds` until it expires."""

    name: str
    scopes: tuple[Scope, ...]
    stacks: tuple[str, ...]
    seconds: float


class TokenCreated(Answer, frozen=True, kw_only=True):
    """The only time that the token itself is told."""

    name: str
    token: str
    expires: str

    def __repr__(self) -> str:
        return f"TokenCreated({self.name})"


class TokenRow(Answer, frozen=True, kw_only=True):
    """A line of `token ls`."""

    name: str
    scopes: tuple[Scope, ...]
    stacks: tuple[str, ...]
    created: str
    expires: str
    expired: bool
    by: str


class TokenRows(Answer, frozen=True, kw_only=True):
    """`token ls`."""

    tokens: tuple[TokenRow, ...]
