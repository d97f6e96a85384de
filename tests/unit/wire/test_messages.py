"""Every message of a session survives its frames; large assignments come in parts."""

import pytest

from stackd.core.model.assignment import Assignment, ContentItem, ItemKind, ItemRef, NodeItem
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.node import NodeReport
from stackd.core.model.release import ContentKind
from stackd.core.model.requests import Batch, Count, Measured
from stackd.core.model.states import TaskState
from stackd.core.model.task import TaskStatus
from stackd.errors import Refused
from stackd.wire import limits, messages
from stackd.wire.gen import agent_pb2
from stackd.wire.messages import (
    AgentMessage,
    AskFull,
    Assigned,
    Beat,
    Certificate,
    Hello,
    ManagerMessage,
    ManagerMessages,
    OpenTunnel,
    Renew,
    Report,
    Requests,
    Statuses,
    Welcome,
)

STATUS = TaskStatus(id=TaskId("t1"), state=TaskState.FAILED, error="exit code 3", exit_code=3)

COUNT = Count(stack="s", service="w", revision=RevisionId("r1"), requests=3, errors=1)
BATCH = Batch(
    stack="s",
    service="w",
    revision=RevisionId("r1"),
    instance="t1",
    sequence=1,
    since=2.5,
    seconds=(0.1, 0.2),
    failed=(1,),
)


@pytest.mark.parametrize(
    "message",
    [
        Hello("n1", epoch=3, applied=9, address="192.0.2.1", cpus=1.5, memory=7, labels={"a": "b"}),
        Statuses((STATUS, STATUS)),
        Report(NodeReport(id="n1", applied=5, in_flight={"t1": 2})),  # type: ignore[arg-type]
        Beat(),
        AskFull(),
        Renew(b"csr"),
        Requests(Measured(batches=(BATCH,), counts=(COUNT,))),
    ],
)
def test_agent_messages(message: AgentMessage) -> None:
    data = messages.agent_frame(message).SerializeToString()
    assert messages.agent_message(agent_pb2.AgentMessage.FromString(data)) == message


SMALL = Assignment(
    full=False,
    applies_to=1,
    sequence=2,
    epoch=3,
    put=(NodeItem(id="n1", name="one", index=1, address="192.0.2.1"),),
    removed=(ItemRef(kind=ItemKind.TASK, key="t1"),),
    traffic_revision=7,
)


@pytest.mark.parametrize(
    "message",
    [
        Welcome(4, 9, 2.5, ("a:1", "b:2"), "c1"),
        Assigned(SMALL),
        OpenTunnel("id", "exec", b"request"),
        Certificate(b"certificate", b"authority"),
    ],
)
def test_manager_messages(message: ManagerMessage) -> None:
    assert over_the_wire(message) == [message]


def over_the_wire(message: ManagerMessage) -> list[ManagerMessage]:
    joined, got = ManagerMessages(), []
    for frame in messages.manager_frames(message):
        data = frame.SerializeToString()
        assert len(data) < limits.MESSAGE_BYTES
        whole = joined.take(agent_pb2.ManagerMessage.FromString(data))
        got += [] if whole is None else [whole]
    return got


def test_an_assignment_larger_than_a_message() -> None:
    items = tuple(
        ContentItem(
            kind=ContentKind.SECRET, name=f"s{n}", version="v", value=bytes([n]) * 500 * 1024
        )
        for n in range(20)
    )
    assignment = Assignment(full=True, applies_to=0, sequence=1, epoch=1, put=items)
    assert over_the_wire(Assigned(assignment)) == [Assigned(assignment)]


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(Refused, match="unknown kind"):
        messages.agent_message(agent_pb2.AgentMessage())
    with pytest.raises(Refused, match="not a NodeReport"):
        messages.agent_message(agent_pb2.AgentMessage(report=b"\xc1"))
    many = agent_pb2.Statuses(status=[b""] * 101)
    with pytest.raises(Refused, match="101 statuses"):
        messages.agent_message(agent_pb2.AgentMessage(statuses=many))
    too_many = Requests(Measured(counts=(COUNT,) * (messages.REQUEST_BATCH + 1)))
    with pytest.raises(Refused, match="in one message"):
        messages.agent_message(messages.agent_frame(too_many))


def test_a_newer_managers_message_is_passed_over() -> None:
    assert ManagerMessages().take(agent_pb2.ManagerMessage()) is None
