"""What a feature toggle means to one asker: rules by attribute, then a share by consistent hash.

Called on every node by `agent.ofrep`. Services of one stack that declare a toggle of the same name
agree about whom it reaches.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from stackd.core.model.toggle import WHOLE, Toggle, ToggleValue

KEY = "targetingKey"


class KeyMissing(Exception):
    """The share is neither all nor nothing, and it is not said who asks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The value, its variant (`on`: who is reached, `off`: all others) and OpenFeature's word for
    why: STATIC, TARGETING_MATCH or SPLIT."""

    value: ToggleValue
    variant: str
    reason: str


def evaluate(stack: str, name: str, toggle: Toggle, context: Mapping[str, object]) -> Answer:
    """Decide for one context. Raises KeyMissing."""
    share, reason = toggle.share, "STATIC"
    for rule in toggle.rules:
        if _text(context.get(rule.attribute)) in rule.any_of:
            share, reason = rule.share, "TARGETING_MATCH"
            break
    if 0 < share < WHOLE:
        key = context.get(KEY)
        if not isinstance(key, str) or not key:
            raise KeyMissing
        reached, reason = bucket(stack, name, key) < share, "SPLIT"
    else:
        reached = share > 0
    value = toggle.value if reached else toggle.otherwise
    return Answer(value, "on" if reached else "off", reason)


def bucket(stack: str, name: str, key: str) -> int:
    """Where a key is among 10,000, always the same: reached by every share above it."""
    digest = hashlib.sha256(f"{stack}/{name}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * WHOLE >> 64


def _text(value: object) -> str | None:
    """An attribute as rules write it; None for what no rule can name."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            return f"{value:.15g}"
    return None
