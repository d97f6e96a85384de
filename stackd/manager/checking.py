"""Keeps asking the checks of analyses, as often as each policy says.

One task for each check of each analysis under way, as long as it is under way; run by
`manager.leading`. Answers go to `manager.analyses`.
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stackd.core.model.analysis import Analysis, Check, CheckKind
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.world import World
from stackd.core.rollout import asked, places
from stackd.manager.analyses import Answers, Place
from stackd.manager.checks import Subject, ask
from stackd.manager.loop import Context


class Checks:
    """Keeps a task for each check that an analysis under way asks for."""

    def __init__(self, context: Context, answers: Answers, folder: Path) -> None:
        """`folder`: where commands may write, in memory; only this manager's."""
        self._context = context
        self._folder = folder
        self._answers = answers
        self._tasks: dict[tuple[Place, Check], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o711)
        tables = self._context.tables
        subscription = tables.subscribe(ServiceState, ToggleState, Stack, Analysis)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await subscription.next()
                    self._keep(group, _asked(tables.world))
        finally:
            tables.unsubscribe(subscription)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, group: asyncio.TaskGroup, wanted: Mapping[tuple[Place, Check], float]) -> None:
        for name in [name for name in self._tasks if name not in wanted]:
            self._tasks.pop(name).cancel()
        for name, interval in wanted.items():
            if name not in self._tasks:
                self._tasks[name] = group.create_task(self._again(*name, interval))

    async def _again(self, place: Place, check: Check, interval: float) -> None:
        clock = self._context.clock
        while True:
            told = subject(self._context.tables.world, place, check)
            if told is not None:
                result = await ask(check, told, clock.now(), self._folder)
                self._answers.put(place, check, result)
            await clock.sleep(interval)


def _asked(world: World) -> dict[tuple[Place, Check], float]:
    """Every check of every analysis that has no final answer yet, and how often it is asked."""
    found: dict[tuple[Place, Check], float] = {}
    for service in world.moving():
        for want in asked.wanted(world, service):
            for at, policy in want.policies.items():
                if _over(world, want.key, want.rollout.id, at):
                    continue
                place = (want.key, want.rollout.id, at)
                found |= {(place, check): policy.interval for check in policy.checks}
    return found


def subject(world: World, place: Place, check: Check) -> Subject | None:
    """What is asked about, as it is now; None when there is nothing to ask: the rollout is over, or
    no step of it is left that a gate could confirm."""
    key, rollout, at = place
    stack, name = key.split("/", 1)
    service, _, feature = name.partition("/")
    state, part = places.state_of(world, key), places.declared(world.release(stack), name)
    going = state.rollout if state is not None else None
    if state is None or part is None or going is None or going.id != rollout:
        return None
    told = Subject(stack, service, at, going.target, going.source or "", feature)
    if check.kind is not CheckKind.WEBHOOK:
        return told
    what = asked.confirmed(part.spec.strategy, state, at)
    if what is None:
        return None
    return replace(told, step=what.step, words=what.words, steps=what.steps)


def _over(world: World, key: str, rollout: str, at: str) -> bool:
    known = world.get(Analysis, key)
    run = known.runs.get(at) if known is not None and known.rollout == rollout else None
    return run is not None and run.state.final
