"""Who may call what; without an entry nobody may."""

import pytest

from stackd.core.model.access import ApiToken, Scope
from stackd.errors import Refused
from stackd.manager.permit import (
    ROOT_METHODS,
    SCOPES,
    node_principal,
    permit,
    permit_token,
    token_principal,
)

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


def token(*scopes: Scope, stacks: tuple[str, ...] = ("shop",)) -> ApiToken:
    return ApiToken(
        name="ci", hash="", scopes=scopes, stacks=stacks, expires=9.0, created=0.0, by="root"
    )


@pytest.mark.parametrize("scope", list(Scope))
def test_every_token_may_look_and_only_what_its_scope_says(scope: Scope) -> None:
    for method in SCOPES[Scope.READ]:
        permit_token(token(scope), method, "shop")
    own = {
        "deploy": "ApplyFiles",
        "promote": "Promote",
        "abort": "Abort",
        "approve": "Approve",
    }
    for name, method in own.items():
        if name == scope.value:
            permit_token(token(scope), method, "shop")
        else:
            with pytest.raises(Refused, match=f"has scope {scope} only") as refused:
                permit_token(token(scope), method, "shop")
            assert refused.value.remedy == f"This needs scope {name}."


def test_a_toggle_is_set_by_who_may_set_toggles_or_declare_them() -> None:
    for scope in (Scope.FLAGS, Scope.DEPLOY):
        permit_token(token(scope), "FlagSet", "shop")
    for scope in (Scope.READ, Scope.PROMOTE, Scope.ABORT, Scope.APPROVE):
        with pytest.raises(Refused, match=f"has scope {scope} only") as refused:
            permit_token(token(scope), "FlagSet", "shop")
        assert refused.value.remedy == "This needs scope deploy or flags."
    with pytest.raises(Refused, match="has scope flags only"):
        permit_token(token(Scope.FLAGS), "Scale", "shop")


def test_scopes_add_up() -> None:
    both = token(Scope.PROMOTE, Scope.ABORT)
    permit_token(both, "Promote", "shop")
    permit_token(both, "Rollback", "shop")
    with pytest.raises(Refused, match="has scope promote, abort only"):
        permit_token(both, "ApplyFiles", "shop")


@pytest.mark.parametrize("stack", ["", "other", "shop2", "*", "Shop"])
def test_a_token_is_for_its_stacks_alone(stack: str) -> None:
    with pytest.raises(Refused, match="is not for") as refused:
        permit_token(token(Scope.READ), "Status", stack)
    assert "It is for: shop." in refused.value.remedy
    permit_token(token(Scope.READ, stacks=("*",)), "Status", stack)


def test_no_token_may_what_no_scope_grants() -> None:
    granted = set().union(*SCOPES.values())
    assert {"Exec", "Logs", "TokenCreate", "TokenShow", "RepoAdd", "Apply", "NodeUpdate"} <= (
        ROOT_METHODS - granted
    )
    for method in {*ROOT_METHODS, "Nonsense", ""} - granted:
        with pytest.raises(Refused, match="has scope"):
            permit_token(token(*Scope, stacks=("*",)), method, "shop")
    with pytest.raises(Refused):
        permit(token_principal(token(*Scope)), "Status", "shop")
