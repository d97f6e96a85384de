"""What a node says of itself: once each, current, again after a reconnect."""

import itertools

from stackd.agent.condition import QUIET, Condition
from stackd.agent.reporter import NOTICES, Reporter
from stackd.aio.clock import ManualClock
from stackd.core.model.node import NodeReport
from stackd.wire.messages import Report


async def said(reporter: Reporter) -> NodeReport:
    """What the next session tells first."""
    reporter.resend()
    message = await reporter.next()
    assert isinstance(message, Report)
    return message.report


async def test_a_trouble_is_told_while_it_lasts_and_its_begin_and_end_are_notices() -> None:
    reporter, clock = Reporter(), ManualClock()
    condition = Condition(reporter, clock)
    for _ in range(3):
        condition.trouble("record", "The disk is full.")
    condition.trouble("network", "")
    report = await said(reporter)
    assert report.troubles == {"record": "The disk is full."}
    assert [(n.kind, n.text) for n in report.notices] == [
        ("node.trouble", "record: The disk is full.")
    ]
    await clock.advance(5)
    condition.trouble("record", "")
    report = await said(reporter)
    assert report.troubles == {}
    assert [n.kind for n in report.notices] == ["node.trouble", "node.recovered"]
    assert report.notices[1].at == report.notices[0].at + 5
    assert "The disk is full." in report.notices[1].text


async def test_what_is_repaired_again_and_again_is_told_now_and_then() -> None:
    reporter, clock = Reporter(), ManualClock()
    condition = Condition(reporter, clock)
    for _ in range(25):
        condition.repaired("The table was restored.")
        await clock.advance(1)
    report = await said(reporter)
    times = [notice.at for notice in report.notices]
    assert [after - before for before, after in itertools.pairwise(times)] == [QUIET] * 2


async def test_only_the_latest_wait_to_be_told() -> None:
    reporter = Reporter()
    condition = Condition(reporter, ManualClock())
    for number in range(NOTICES + 5):
        condition.repaired(f"{number}")
    report = await said(reporter)
    assert [notice.text for notice in report.notices] == [f"{n}" for n in range(5, NOTICES + 5)]
