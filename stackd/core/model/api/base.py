"""What all requests and answers share."""

import msgspec

from stackd.core.model.record import Value


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything the API answers: all keys are always there."""


class Empty(Value, frozen=True, kw_only=True):
    """Nothing to say."""


class Text(Answer, frozen=True, kw_only=True):
    """One sentence for people."""

    text: str


class NameRequest(Value, frozen=True, kw_only=True):
    """A request about one named thing: STACK, STACK/SERVICE, task, node, network, image…"""

    name: str = ""
    all: bool = False
