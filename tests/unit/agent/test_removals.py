"""A node removes volumes once, says so, and tries again what failed."""

import asyncio

from stackd.agent.removals import Removals
from stackd.agent.reporter import Reporter
from stackd.aio.clock import ManualClock, settle
from stackd.core.model.assignment import VolumeItem
from stackd.core.model.ids import NodeId
from stackd.core.model.node import NodeReport
from stackd.errors import Unavailable
from stackd.wire.messages import Report
from tests.fakes.host import FakeRuntime


class Disk(FakeRuntime):
    """Cannot remove the volumes in `busy`."""

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[str] = set()
        self.asked: list[str] = []

    async def remove_volume(self, name: str) -> None:
        self.asked.append(name)
        if name in self.busy:
            raise Unavailable("The volume is busy.")
        await super().remove_volume(name)


async def test_volumes_are_removed_once_and_told() -> None:
    disk, reporter, clock = Disk(), Reporter(), ManualClock()
    disk.volumes, disk.busy = {"a", "b", "c"}, {"b"}
    removals = Removals(disk, reporter, clock)
    reporter.report(NodeReport(id=NodeId("n")))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(removals.run())
        removals.wanted([VolumeItem(name="a", asked=1), VolumeItem(name="b", asked=2)])
        await settle()
        assert disk.volumes == {"b", "c"}
        said = await reporter.next()
        assert isinstance(said, Report)
        assert said.report.removed == {"a": 1}
        disk.busy = set()
        await clock.advance(1)
        await settle()
        assert disk.asked == ["a", "b", "b"]
        said = await reporter.next()
        assert isinstance(said, Report)
        assert said.report.removed == {"a": 1, "b": 2}
        removals.wanted([VolumeItem(name="a", asked=3)])  # made again, and removed again
        await settle()
        assert disk.asked[3:] == ["a"]
        running.cancel()
