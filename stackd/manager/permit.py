"""Who may call what. Pure; the one gate of every mutating and reading rpc.

A method without an entry is refused. Principals: `root@local` (root's socket) and `node:ID` (a
node's certificate). A node's further limits (its own tasks, its own statuses) follow from its
identity where the call is served.
"""

from stackd.errors import Refused
from stackd.wire.control import ROOT_PRINCIPAL, method_shapes

NODE_PREFIX = "node:"
NODE_METHODS = frozenset({"Session", "Blob", "Tunnel"})
ROOT_METHODS = frozenset(method_shapes())


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
