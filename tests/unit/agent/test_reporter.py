"""The newest word of each task, all of it again after a reconnect."""

from stackd.agent.reporter import BATCHES, Reporter
from stackd.core.model.ids import NodeId, RevisionId, TaskId
from stackd.core.model.node import NodeReport
from stackd.core.model.requests import Batch, Measured
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus
from stackd.wire.messages import REQUEST_BATCH, Report, Requests, Statuses


def status(name: str, state: TaskState) -> TaskStatus:
    return TaskStatus(id=TaskId(name), state=state)


async def test_newest_of_each_task_in_one_message() -> None:
    reporter = Reporter()
    for state in (TaskState.ACCEPTED, TaskState.RUNNING, TaskState.FAILED):
        reporter.status(status("t1", state))
    reporter.status(status("t2", TaskState.READY))
    expected = (status("t1", TaskState.FAILED), status("t2", TaskState.READY))
    assert await reporter.next() == Statuses(expected)


async def test_at_most_a_hundred_in_a_message() -> None:
    reporter = Reporter()
    for number in range(150):
        reporter.status(status(f"t{number}", TaskState.RUNNING))
    sizes = []
    for _ in range(2):
        message = await reporter.next()
        assert isinstance(message, Statuses)
        sizes.append(len(message.statuses))
    assert sizes == [100, 50]


async def test_resend_says_everything_but_what_was_forgotten() -> None:
    reporter = Reporter()
    report = NodeReport(id=NodeId(""), applied=7)
    reporter.report(report)
    reporter.status(status("t1", TaskState.RUNNING))
    reporter.status(status("t2", TaskState.RUNNING))
    await reporter.next()
    assert await reporter.next() == Report(report)
    reporter.forget(["t2"])
    reporter.resend()
    assert await reporter.next() == Statuses((status("t1", TaskState.RUNNING),))
    assert await reporter.next() == Report(report)
    assert reporter.applied == 7


def batch(number: int) -> Batch:
    return Batch(
        stack="shop",
        service="web",
        revision=RevisionId("r1"),
        instance="t1",
        sequence=number,
        since=0.0,
        seconds=(0.1,) * 10,
    )


async def test_requests_are_said_once_and_of_too_many_the_oldest_go() -> None:
    reporter = Reporter()
    reporter.measured(Measured(batches=tuple(batch(n) for n in range(BATCHES + 3))))
    reporter.resend()
    assert isinstance(await reporter.next(), Report)
    told: list[int] = []
    while len(told) < BATCHES:
        message = await reporter.next()
        assert isinstance(message, Requests)
        assert len(message.measured.batches) <= REQUEST_BATCH
        told += [found.sequence for found in message.measured.batches]
    assert told == list(range(3, BATCHES + 3))


async def test_what_toggles_were_asked_for_stays_in_every_report() -> None:
    reporter = Reporter(began=3.0)
    reporter.asked({"shop/web/cart": 5.0})
    report = NodeReport(id=NodeId(""), asked={"shop/web/cart": 5.0}, began=3.0)
    assert await reporter.next() == Report(report)
    reporter.report(NodeReport(id=NodeId(""), applied=7))
    assert await reporter.next() == Report(
        NodeReport(id=NodeId(""), applied=7, asked={"shop/web/cart": 5.0}, began=3.0)
    )
