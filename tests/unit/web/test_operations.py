"""The table of the JSON API: it fits the control API, and what comes in is what is documented."""

import typing

import msgspec
import pytest

from stackd.core.model import api
from stackd.errors import Refused
from stackd.manager.permit import SCOPES
from stackd.web.operations import OPERATIONS, Operation, Take
from tests.unit.manager.test_methods import found

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def test_names_and_places_are_used_once() -> None:
    assert len(BY_NAME) == len(OPERATIONS)
    assert len({(o.verb, o.path) for o in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_an_operation_is_an_rpc_with_its_types(operation: Operation) -> None:
    method = found()[operation.rpc]
    assert operation.request is method.request
    answer = typing.get_type_hints(method.handler)["return"]
    inner = answer if operation.take is Take.ONE else typing.get_args(answer)[0]
    if operation.pick is not None:
        assert typing.get_type_hints(operation.pick) == {
            "answer": inner,
            "return": operation.answer,
        }
    elif operation.take is Take.ALL:
        assert typing.get_args(operation.answer) == (inner, ...)
    else:
        assert operation.answer is inner


def test_every_operation_is_granted_by_a_scope_and_nothing_else_is() -> None:
    assert set().union(*SCOPES.values()) == {operation.rpc for operation in OPERATIONS}


def test_a_request_is_put_together_from_path_query_and_body() -> None:
    place = {"stack": "shop", "service": "web"}
    wait = BY_NAME["waitService"].asked(place, {"timeout": "5", "commit": "c1"}, b"")
    assert wait == api.WaitRequest(name="shop/web", timeout=5, commit="c1")
    scale = BY_NAME["scale"].asked(place, {}, b'{"replicas": 3}')
    assert scale == api.ScaleRequest(name="shop/web", replicas=3)
    assert BY_NAME["promote"].asked(place, {}, b"") == api.RolloutRequest(name="shop/web")
    assert BY_NAME["listStacks"].asked({}, {}, b"") == api.NameRequest()
    files = BY_NAME["applyStack"].asked({"stack": "shop"}, {}, b'{"files": {"a.yml": "x"}}')
    assert files == api.FilesRequest(name="shop", files={"a.yml": "x"})


@pytest.mark.parametrize(
    ("name", "query", "body"),
    [
        ("waitStack", {"timeout": "soon"}, b""),
        ("waitStack", {"revision": "a"}, b""),
        ("promote", {}, b'{"full": "yes"}'),
        ("promote", {}, b'{"name": "other/web"}'),
        ("promote", {}, b"full"),
        ("promote", {}, b"[]"),
        ("promote", {}, b"[" * 100_000),
        ("scale", {}, b"{}"),
        ("freeze", {}, b'{"until": 5}'),
    ],
)
def test_what_is_not_documented_is_refused_with_the_fields_there_are(
    name: str, query: dict[str, str], body: bytes
) -> None:
    operation = BY_NAME[name]
    with pytest.raises(Refused) as refused:
        operation.asked({"stack": "shop"}, query, body)
    assert refused.value.remedy == f"Fields of {name}: {', '.join(operation.fields) or 'none'}."


def test_picks_are_the_documents_of_the_contracts() -> None:
    service = {
        **{"stack": "shop", "service": "web", "phase": "paused", "reason": "", "strategy": ""},
        **{"step": 0, "steps": (), "weights": {}, "revisions": (), "release": 1, "commit": ""},
        **{"owner": "cli", "hold": (), "override": None},
    }
    web = msgspec.convert(service, api.ServiceStatus)
    db = msgspec.convert({**service, "service": "db", "phase": "healthy"}, api.ServiceStatus)
    stack = {
        **{"stack": "shop", "release": 1, "commit": "", "seen_commit": "", "owner": "cli"},
        **{"phase": "paused", "services": (db, web)},
    }
    status = api.StackStatus(**stack)  # type: ignore[arg-type]
    answer = api.StatusAnswer(stacks=(status,), service="web")
    picked = {o.name: o.pick(answer) for o in OPERATIONS if o.pick is not None}
    assert picked == {
        "getStack": status,
        "listServices": (db, web),
        "getService": web,
        "listAllRollouts": (web,),
        "listRollouts": (web,),
    }
