"""The generated code is what the proto files say, and no change breaks a released peer."""

import json

from tests.tools import generate_proto, proto_shape


def test_generated_code_is_up_to_date() -> None:
    assert generate_proto.differences() == []


def test_released_peers_still_understand() -> None:
    released = json.loads(generate_proto.RELEASED.read_text())
    assert proto_shape.breaking(released, proto_shape.shape()) == []


def test_breaking_changes_are_seen() -> None:
    old = {"message A": {"1": "x 9", "2": "y 9"}, "service S": {"Get": "A A (False, False)"}}
    new = {"message A": {"1": "x 12", "3": "z 9"}, "service S": {}}
    assert proto_shape.breaking(old, new) == [
        "message A 1: was x 9, is x 12",
        "message A 2: was y 9, is None",
        "service S Get: was A A (False, False), is None",
    ]
    assert proto_shape.breaking(old, old | {"message B": {"1": "x 9"}}) == []
