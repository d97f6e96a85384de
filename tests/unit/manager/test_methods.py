"""Every rpc of the control API has a handler of its own and a permission."""

import inspect
import types
import typing
from dataclasses import fields

from stackd.manager.methods import Handlers, methods
from stackd.manager.permit import ROOT_METHODS
from stackd.wire.control import Method
from stackd.wire.gen.control_pb2 import DESCRIPTOR


def found() -> dict[str, Method]:
    """The table over handlers that are classes only: nothing of them is called."""
    hints = typing.get_type_hints(Handlers)
    bare = {f.name: hints[f.name].__new__(hints[f.name]) for f in fields(Handlers)}
    return dict(methods(Handlers(**bare)))


def test_every_rpc_is_served_and_permitted() -> None:
    rpcs = {m.name for m in DESCRIPTOR.services_by_name["Control"].methods}
    assert found().keys() == rpcs
    assert rpcs == ROOT_METHODS


def test_each_handler_takes_the_type_that_is_decoded_for_it() -> None:
    for name, method in found().items():
        assert isinstance(method.handler, types.MethodType)
        hints = typing.get_type_hints(method.handler)
        first = next(iter(inspect.signature(method.handler).parameters))
        taken = hints[first]
        inner = typing.get_args(taken)[0] if typing.get_args(taken) else taken
        assert inner is method.request, name


def test_no_two_rpcs_share_a_handler() -> None:
    handlers = [method.handler for method in found().values()]
    assert len({h.__qualname__ for h in handlers}) == len(handlers)
