"""Freezes: while one stands, no new rollout begins in its stack or in any.

What has begun goes on, and so do abort, rollback and the replacing of tasks that are lost. Asked
by `service` before a rollout begins; `freeze` and `unfreeze` are called by the control API,
`ended` by the reaper.
"""

from collections.abc import Sequence
from typing import Protocol

from stackd.core.model.decision import Decision
from stackd.core.model.draft import Draft, Ids, earliest
from stackd.core.model.record import Changes, Delete, Put, ref
from stackd.core.model.release import Freeze, Stack
from stackd.core.model.times import rfc3339
from stackd.core.model.world import World
from stackd.errors import Refused

LONGEST = 500
"""Characters of a reason: every `status` repeats it."""
LATEST = 253_402_300_799.0
"""Unix seconds: what can be written as a date."""


class Asking(Protocol):
    """Who asks, when, and fresh ids."""

    @property
    def by(self) -> str: ...
    @property
    def now(self) -> float: ...
    @property
    def ids(self) -> Ids: ...


def standing(world: World, stack: str, now: float) -> Sequence[Freeze]:
    """The freezes of a stack: that of all stacks, then its own. `stack` '' = only the former."""
    found = (world.get(Freeze, key) for key in (Freeze.ALL, stack) if key)
    return [one for one in found if one is not None and not _over(one, now)]


def holding(world: World, stack: str, now: float) -> Freeze | None:
    """The freeze that keeps new rollouts of a stack from beginning; None when there is none, or
    when the release declared now is one that was gone back to."""
    head = world.get(Stack, stack)
    if head is not None and head.back:
        return None
    return next(iter(standing(world, stack, now)), None)


def _over(freeze: Freeze, now: float) -> bool:
    return bool(freeze.until) and freeze.until <= now


def words(freeze: Freeze) -> str:
    """After `STACK is`: by whom, until when and why."""
    what = "" if freeze.stack else " with all stacks"
    until = f" until {rfc3339(freeze.until)}" if freeze.until else ""
    return f"frozen{what} by {freeze.by}{until}: {freeze.reason}"


def way_out(freeze: Freeze) -> str:
    """What ends it, as a sentence."""
    return f"End it with: stackd unfreeze {freeze.stack}".rstrip()


def freeze(world: World, stack: str, asked: Asking, reason: str, until: float = 0) -> Changes:
    """Let no new rollout begin in `stack` ('' = all) until then; replaces the freeze before."""
    if not reason.strip():
        raise Refused("A freeze needs a reason.", 'Say it with --reason "…".')
    if len(reason) > LONGEST:
        raise Refused(f"The reason has more than {LONGEST} characters.", "Say it shorter.")
    if until > LATEST:
        raise Refused("A freeze ends by the year 9999.", "Leave out --until for one without end.")
    if until and until <= asked.now:
        raise Refused(
            f"{rfc3339(until)} is past: it is {rfc3339(asked.now)}.", "Give --until a time to come."
        )
    made = Freeze(stack=stack, reason=reason.strip(), by=asked.by, at=asked.now, until=until)
    draft = Draft(asked.now, asked.ids, asked.by)
    event = draft.event("freeze.began", stack or Freeze.ALL, words(made))
    return Changes(changes=(Put(record=made), Put(record=event)))


def unfreeze(world: World, stack: str, asked: Asking) -> Changes:
    """End the freeze of `stack` ('' = that of all)."""
    key = stack or Freeze.ALL
    found = world.get(Freeze, key)
    if found is None:
        other = next(iter(standing(world, stack, asked.now)), None)
        what = f"{stack} is" if stack else "All stacks together are"
        remedy = way_out(other) if other is not None else "See: stackd status"
        raise Refused(f"{what} not frozen{' by itself' if other else ''}.", remedy)
    draft = Draft(asked.now, asked.ids, asked.by)
    event = draft.event("freeze.ended", key, f"unfrozen by {asked.by}")
    return Changes(changes=(Delete(ref=ref(Freeze, key)), Put(record=event)))


def ended(world: World, now: float, ids: Ids) -> Decision:
    """Forget the freezes whose end has come, and look again at the next end."""
    draft = Draft(now, ids)
    wake: float | None = None
    for one in world.all(Freeze):
        if _over(one, now):
            event = draft.event("freeze.ended", one.key, f"until {rfc3339(one.until)}")
            draft.group([Delete(ref=ref(Freeze, one.key)), event])
        elif one.until:
            wake = earliest(wake, one.until)
    return draft.decision(wake)
