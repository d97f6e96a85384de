"""Who may call what. Pure; the one gate of every mutating and reading rpc.

A method without an entry is refused. Principals: `root@local` (root's socket), `token:NAME` (the
bearer of a token of the JSON API) and `node:ID` (a node's certificate). A node's further limits
(its own tasks, its own statuses) follow from its identity where the call is served.
"""

from collections.abc import Mapping

from stackd.core.model.access import ApiToken, Scope
from stackd.errors import Refused
from stackd.wire.control import ROOT_PRINCIPAL, method_shapes

NODE_PREFIX = "node:"
NODE_METHODS = frozenset({"Session", "Blob", "Tunnel"})
ROOT_METHODS = frozenset(method_shapes())


_SEEN = frozenset(
    {"Status", "List", "Ps", "Why", "Wait", "History", "Events", "FlagList", "RepoList"}
)
_DEPLOYS = frozenset({"ApplyFiles", "PlanFiles", "Scale", "Retry", "Freeze", "Unfreeze", "FlagSet"})
SCOPES: Mapping[Scope, frozenset[str]] = {
    Scope.READ: _SEEN,
    Scope.DEPLOY: _SEEN | _DEPLOYS,
    Scope.PROMOTE: _SEEN | {"Promote", "Resume"},
    Scope.ABORT: _SEEN | {"Abort", "Pause", "Rollback"},
    Scope.FLAGS: _SEEN | {"FlagSet"},
    Scope.APPROVE: _SEEN | {"Approve"},
}
"""What the bearer of a token with a scope may call."""


def token_principal(token: ApiToken) -> str:
    """The principal of a token's bearer."""
    return f"token:{token.name}"


def permit_token(token: ApiToken, method: str, stack: str) -> None:
    """Return if the bearer of `token` may call `method` on `stack` ('' = all). Raises Refused."""
    grants = [scope for scope, methods in SCOPES.items() if method in methods]
    if not set(grants) & set(token.scopes):
        scopes = " or ".join(grants)
        needed = f"scope {scopes}" if grants else "the command line on a manager"
        have = ", ".join(token.scopes)
        raise Refused(f"Token {token.name} has scope {have} only.", f"This needs {needed}.")
    if not token.covers(stack):
        what = f"stack {stack}" if stack else "all stacks"
        raise Refused(
            f"Token {token.name} is not for {what}.",
            f"It is for: {', '.join(token.stacks)}. Ask for one of these, or for another token.",
        )


def node_principal(node: str) -> str:
    """The principal of a node's certificate."""
    return f"{NODE_PREFIX}{node}"


def permit(principal: str, method: str, stack: str = "") -> None:
    """Return if `principal` may call `method` on `stack` ('' = none). Raises Refused."""
    if principal == ROOT_PRINCIPAL and method in ROOT_METHODS:
        return
    if principal.startswith(NODE_PREFIX) and method in NODE_METHODS and not stack:
        return
    raise Refused(f"{principal} may not call {method}.")
