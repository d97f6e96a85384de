"""Keeps asking the checks of analyses, as often as each policy says.

One task for each check of each analysis under way, as long as it is under way; run by
`manager.leading`. Answers go to `manager.analyses`.
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackd.core.model.analysis import Analysis, Check
from stackd.core.model.release import Stack
from stackd.core.model.rollout import ServiceState, ToggleState
from stackd.core.model.world import World
from stackd.core.rollout import asked
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

    def _keep(
        self, group: asyncio.TaskGroup, wanted: Mapping[tuple[Place, Check], "_Asked"]
    ) -> None:
        for name in [name for name in self._tasks if name not in wanted]:
            self._tasks.pop(name).cancel()
        for name, one in wanted.items():
            if name not in self._tasks:
                self._tasks[name] = group.create_task(self._again(*name, one))

    async def _again(self, place: Place, check: Check, one: "_Asked") -> None:
        clock = self._context.clock
        while True:
            result = await ask(check, one.subject, clock.now(), self._folder)
            self._answers.put(place, check, result)
            await clock.sleep(one.interval)


@dataclass(frozen=True, slots=True)
class _Asked:
    subject: Subject
    interval: float


def _asked(world: World) -> dict[tuple[Place, Check], _Asked]:
    """Every check of every analysis that has no final answer yet."""
    found: dict[tuple[Place, Check], _Asked] = {}
    for service in world.moving():
        for want in asked.wanted(world, service):
            for at, policy in want.policies.items():
                if _over(world, want.key, want.rollout.id, at):
                    continue
                subject = _subject(want, at)
                for check in policy.checks:
                    place = (want.key, want.rollout.id, at)
                    found[place, check] = _Asked(subject, policy.interval)
    return found


def _subject(want: asked.Wanted, at: str) -> Subject:
    stack, service, *feature = want.key.split("/")
    old, new = want.rollout.source or "", want.rollout.target
    return Subject(stack, service, at, new, old, feature="".join(feature))


def _over(world: World, key: str, rollout: str, at: str) -> bool:
    known = world.get(Analysis, key)
    run = known.runs.get(at) if known is not None and known.rollout == rollout else None
    return run is not None and run.state.final
