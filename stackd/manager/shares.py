"""What each revision really got of a service's requests and connections since its present weights
act.

In the leader's memory only, for people: nothing is decided by it. Filled by `manager.dispatcher`
every few seconds, read by `status`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stackd.core.model.requests import Count, Measured


@dataclass(slots=True)
class _Since:
    """Sums since these weights were first told of."""

    weights: Mapping[str, int]
    nodes: set[str] = field(default_factory=set)
    """Those whose growth since then is known from its beginning."""
    requests: dict[str, int] = field(default_factory=dict)


class Shares:
    """`acting`: the weights that act now of a service (`STACK/SERVICE`), revision -> 1..10000."""

    def __init__(self, acting: Callable[[str], Mapping[str, int]]) -> None:
        self._acting = acting
        self._since: dict[str, _Since] = {}

    def put(self, node: str, measured: Measured) -> None:
        """`node` saw these. What a node says first after a change of weights began before it, and
        is left out."""
        told: dict[str, list[Count]] = {}
        for count in measured.counts:
            told.setdefault(count.key, []).append(count)
        for key, counts in told.items():
            found = self._current(key)
            if found is None:
                continue
            for one in counts if node in found.nodes else ():
                grown = one.requests - one.mirrored + one.connections
                found.requests[one.revision] = found.requests.get(one.revision, 0) + grown
            found.nodes.add(node)

    def of(self, key: str) -> Mapping[str, int]:
        """Revision -> requests since its present weights act; {} while nothing is shared out, or
        nothing is known yet."""
        found = self._current(key)
        return dict(found.requests) if found is not None else {}

    def _current(self, key: str) -> _Since | None:
        weights = self._acting(key)
        if len(weights) < 2:
            self._since.pop(key, None)
            return None
        found = self._since.get(key)
        if found is None or found.weights != weights:
            found = self._since[key] = _Since(dict(weights))
        return found
