"""A control loop's decision made key by key, each key with a time of its own to look again.

Used by the loops whose decider works on one service, task or stack at a time, so that a pass costs
what has changed and not what exists.
"""

from collections.abc import Callable, Iterable, Iterator

from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.draft import Ids, join
from stackd.core.model.world import World

Keys = Callable[[World, Dirty], Iterable[str]]
DecideKey = Callable[[World, str, float, Ids], Decision]

_RECHECK = 1.0
"""Seconds after a write in which its key is looked at again: a lost race costs no more."""


class Keyed:
    """Callable as `ControlLoop.decide`. What it keeps is only when to look again."""

    def __init__(self, keys: Keys, decide: DecideKey) -> None:
        self._keys = keys
        self._decide = decide
        self._wakes: dict[str, float] = {}

    def __call__(self, world: World, dirty: Dirty, now: float, ids: Iterator[str]) -> Decision:
        due = {key for key, at in self._wakes.items() if at <= now}
        decisions = []
        for key in sorted(due.union(self._keys(world, dirty))):
            decision = self._decide(world, key, now, ids.__next__)
            decisions.append(decision)
            self._wakes.pop(key, None)
            wakes = [decision.wake_at] if decision.wake_at is not None else []
            wakes += [now + _RECHECK] if decision.commits else []
            if wakes:
                self._wakes[key] = min(wakes)
        joined = join(decisions)
        return Decision(commits=joined.commits, wake_at=min(self._wakes.values(), default=None))
