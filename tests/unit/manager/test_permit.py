"""Who may call what; without an entry nobody may."""

import pytest

from stackd.errors import Refused
from stackd.manager.permit import ROOT_METHODS, node_principal, permit

NODE = node_principal("n1")


def test_root_may_everything_that_exists() -> None:
    assert {"Apply", "Exec", "TokenRotate"} <= ROOT_METHODS
    for method in ROOT_METHODS:
        permit("root@local", method, "shop")


@pytest.mark.parametrize("method", ["Session", "Blob", "Tunnel"])
def test_nodes_may_what_agents_need(method: str) -> None:
    permit(NODE, method)


@pytest.mark.parametrize(
    ("principal", "method", "stack"),
    [
        (NODE, "Apply", ""),
        (NODE, "TokenShow", ""),
        (NODE, "Session", "shop"),
        ("root@local", "Nonsense", ""),
        ("root@local", "Session", ""),
        ("root@local", "", ""),
        ("", "Apply", ""),
        ("root", "Apply", ""),
        ("nodes:n1", "Session", ""),
    ],
)
def test_everything_else_is_refused(principal: str, method: str, stack: str) -> None:
    with pytest.raises(Refused):
        permit(principal, method, stack)
