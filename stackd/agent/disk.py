"""Looks after the room on the node's disk, so that a full one is told by name wherever it shows
first. Run by `agent.main`."""

import asyncio
from pathlib import Path
from typing import NoReturn

from stackd.agent.condition import Condition
from stackd.aio.clock import Clock
from stackd.host import room

EVERY = 2.0


async def watch(path: Path, condition: Condition, clock: Clock) -> NoReturn:
    """Tell when `path` has no room left and when it has again, until cancelled."""
    while True:
        condition.trouble("disk", await asyncio.to_thread(room.shortage, path))
        await clock.sleep(EVERY)
