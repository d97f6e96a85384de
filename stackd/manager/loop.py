"""The one control loop: watch tables, decide (pure, in core), commit, sleep.

Every leader loop that only decides is a `ControlLoop` value, run by `run` in the leader's task
group (`manager.leading`). Loops never call each other; they meet in the store.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from stackd.aio.clock import Clock
from stackd.aio.loop import forever
from stackd.core.model.decision import Decision, Dirty
from stackd.core.model.record import Record
from stackd.core.model.world import World
from stackd.errors import Conflict
from stackd.store.tables import Fence, Prepared, Tables

Decide = Callable[[World, Dirty, float, Iterator[str]], Decision]
"""World, what changed in the watched tables, now (Unix seconds), fresh ids -> what to write."""

_REST = 4.0
_LONGEST_REST = 0.1
"""A loop rests this many times as long as it took to decide, at most so many seconds: what comes
meanwhile is decided together, so that many changes cost less than as many times one."""
_SHORTEST = 0.01
"""Seconds: a decider that always wants to look again at once does not take the whole machine."""


@dataclass(frozen=True, slots=True)
class ControlLoop:
    """A loop as a value: `decide` looks again whenever one of `watches` has changed."""

    name: str
    watches: tuple[type[Record], ...]
    decide: Decide


@dataclass(frozen=True, slots=True)
class Context:
    """What every leader loop works with; `fence` is the leader's epoch."""

    tables: Tables
    clock: Clock
    ids: Iterator[str]
    fence: Fence | None = None


async def run(loop: ControlLoop, context: Context) -> NoReturn:
    """Run `loop` until cancelled. Raises only Corrupt: a bug in `decide` is logged, and tried
    again after 1 s, later up to 60 s, while the other loops go on."""
    clock = context.clock
    subscription = context.tables.subscribe(*loop.watches)
    wake_at: float | None = None
    conflicts = 0

    async def step() -> None:
        nonlocal wake_at, conflicts
        dirty = await subscription.next(
            None if wake_at is None else max(_SHORTEST, wake_at - clock.now())
        )
        wake_at = None  # if this pass fails, what it was about comes again at once
        try:
            wake_at = await _pass(loop, context, dirty)
            conflicts = 0
        except Conflict:
            subscription.again(dirty)
            conflicts += 1
            if conflicts > 3:
                await clock.sleep(min(5.0, 0.1 * conflicts))
        except Exception:
            subscription.again(dirty)
            raise

    try:
        await forever(f"loop {loop.name}", clock, step)
    finally:
        context.tables.unsubscribe(subscription)


async def _pass(loop: ControlLoop, context: Context, dirty: Dirty) -> float | None:
    """Decide once and write all of it; returns when to look again."""
    tables = context.tables
    clock = context.clock
    began = clock.now()
    decision = loop.decide(tables.world, dirty, began, context.ids)
    decided = clock.now()
    # All conditions are taken before the first write: later ones must not see newer records.
    prepared = [tables.prepare(commit, context.fence) for commit in decision.commits]
    await _submit(tables, prepared)
    rested = decided + min(_LONGEST_REST, _REST * (decided - began))
    if (rest := rested - clock.now()) > 0:
        await clock.sleep(rest)
    return decision.wake_at


async def _submit(tables: Tables, prepared: list[Prepared]) -> None:
    """Write independent commits at once, so that one sync serves them. Raises what is worst."""
    outcomes = await asyncio.gather(
        *(tables.submit(commit) for commit in prepared), return_exceptions=True
    )
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in sorted(failures, key=lambda found: isinstance(found, Conflict)):
        raise failure
