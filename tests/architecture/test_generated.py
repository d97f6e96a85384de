"""What is generated is what its source says now, and old peers still understand it."""

import copy
import json

from stackd.wire.gen import agent_pb2
from tests.architecture.sources import name
from tests.tools import generate_proto, proto_shape, write_schema


def test_the_protocol_code_is_fresh() -> None:
    assert generate_proto.differences() == [], "run: make proto"
    assert agent_pb2.DESCRIPTOR.services_by_name


def test_no_protocol_change_breaks_a_released_peer() -> None:
    released = json.loads(generate_proto.RELEASED.read_text())
    assert proto_shape.breaking(released, proto_shape.shape()) == []


def test_a_breaking_change_would_be_noticed() -> None:
    now = proto_shape.shape()
    changed = copy.deepcopy(now)
    holder = next(key for key, members in now.items() if key.startswith("message ") and members)
    changed[holder].popitem()
    assert proto_shape.breaking(now, changed) != []
    assert proto_shape.breaking(changed, now) == [], "an addition breaks nobody"


def test_the_schema_of_stack_files_is_fresh() -> None:
    assert write_schema.TARGET.read_text() == write_schema.rendered(), (
        f"{name(write_schema.TARGET)} is stale: run make schema"
    )
