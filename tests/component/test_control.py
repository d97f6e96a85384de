"""The control API over its unix socket: calls, streams, errors and who may open it."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.core.model.api import (
    ApplyAnswer,
    ApplyRequest,
    Empty,
    ExecFrame,
    LogRow,
    LogsRequest,
    NameRequest,
    Text,
)
from stackd.core.model.stack import StackSpec
from stackd.errors import (
    Conflict,
    Corrupt,
    InvalidSpec,
    Problem,
    Refused,
    Rejected,
    StackdError,
    Stale,
    Unavailable,
    Unknown,
)
from stackd.manager.permit import permit
from stackd.wire.control import Caller, ControlServer, Method
from stackd.wire.control_client import ControlClient

ERRORS: dict[str, StackdError] = {
    "conflict": Conflict("It changed.", "Try again."),
    "unavailable": Unavailable("Not there.", "Wait.", retry_after=7.5),
    "rejected": Rejected("Not here."),
    "refused": Refused("Nö: not allowed.", "Ask."),
    "stale": Stale("Another one.", "Look."),
    "unknown": Unknown("There is none.", "See ls."),
    "corrupt": Corrupt("Broken."),
}


async def version(request: Empty, caller: Caller) -> Text:
    return Text(text=f"{caller.principal} {caller.method}")


async def status(request: NameRequest, caller: Caller) -> Text:
    if request.name == "bug":
        raise KeyError("a secret value")
    if request.name == "spec":
        raise InvalidSpec([Problem("a.yml", n, 1, f"fault {n}", "x.y") for n in range(1, 20_001)])
    raise ERRORS[request.name]


async def apply(request: ApplyRequest, caller: Caller) -> ApplyAnswer:
    size = sum(len(value) for value in request.contents.values())
    return ApplyAnswer(stack=request.spec.name, release=size, changed=True, plan_hash="")


async def logs(request: LogsRequest, caller: Caller) -> AsyncIterator[LogRow]:
    for number in range(3):
        yield LogRow(task="t", name=request.name, at="", stream="stdout", text=b"%d" % number)
    raise Unavailable("The node went away.")


async def execute(frames: AsyncIterator[ExecFrame], caller: Caller) -> AsyncIterator[ExecFrame]:
    async for frame in frames:
        if frame.task == "none":
            raise Refused("There is no task none.", "See: stackd ps")
        if frame.task == "bug":
            raise KeyError("a secret detail")
        yield ExecFrame(stream=1, data=frame.data.upper())
        if frame.end:
            yield ExecFrame(code=3)
            return


METHODS = {
    "Version": Method(Empty, version),
    "Status": Method(NameRequest, status),
    "Apply": Method(ApplyRequest, apply),
    "Logs": Method(LogsRequest, logs),
    "Exec": Method(ExecFrame, execute),
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ControlClient]:
    server = ControlServer(METHODS, permit)
    path = tmp_path / "run" / "control.sock"
    await server.start(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with ControlClient(path) as opened:
        yield opened
    await server.stop(0)


async def test_call(client: ControlClient) -> None:
    answer = await client.call("Version", Empty(), Text)
    assert answer.text == "root@local Version"


@pytest.mark.parametrize("name", ERRORS)
async def test_errors_arrive_as_they_were(client: ControlClient, name: str) -> None:
    sent = ERRORS[name]
    with pytest.raises(type(sent)) as caught:
        await client.call("Status", NameRequest(name=name), Text)
    assert (caught.value.cause, caught.value.remedy) == (sent.cause, sent.remedy)
    if isinstance(caught.value, Unavailable):
        assert caught.value.retry_after == 7.5


async def test_many_problems_arrive_with_their_places(client: ControlClient) -> None:
    with pytest.raises(InvalidSpec) as caught:
        await client.call("Status", NameRequest(name="spec"), Text)
    problems = caught.value.problems
    assert problems[0] == Problem("a.yml", 1, 1, "fault 1", "x.y")
    assert len(problems) > 1000
    left = 20_000 - (len(problems) - 1)
    assert problems[-1].text == f"and {left} more"


async def test_a_bug_is_told_without_its_text(client: ControlClient) -> None:
    with pytest.raises(Refused, match="KeyError") as caught:
        await client.call("Status", NameRequest(name="bug"), Text)
    assert "secret" not in caught.value.cause


async def test_large_request(client: ControlClient) -> None:
    spec = StackSpec(name="shop", services={})
    request = ApplyRequest(spec=spec, contents={"secret/a": b"x" * 20_000_000})
    assert (await client.call("Apply", request, ApplyAnswer)).release == 20_000_000


async def test_stream_ends_with_its_error(client: ControlClient) -> None:
    rows = client.stream("Logs", LogsRequest(name="web"), LogRow)
    assert [(await anext(rows)).text for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(Unavailable, match="The node went away"):
        await anext(rows)


async def test_bidi(client: ControlClient) -> None:
    async def frames() -> AsyncIterator[ExecFrame]:
        yield ExecFrame(data=b"abc")
        yield ExecFrame(data=b"d", end=True)

    got = [frame async for frame in client.bidi("Exec", frames(), ExecFrame)]
    assert [frame.data for frame in got] == [b"ABC", b"D", b""]
    assert got[-1].code == 3


@pytest.mark.parametrize(
    ("task", "told"), [("none", "There is no task none"), ("bug", r"failed .* \(KeyError\)")]
)
async def test_bidi_ends_with_its_error_while_the_caller_sends_on(
    client: ControlClient, task: str, told: str
) -> None:
    async def frames() -> AsyncIterator[ExecFrame]:
        yield ExecFrame(task=task)
        while True:
            yield ExecFrame(data=b"more")
            await asyncio.sleep(0)

    for _ in range(20):
        with pytest.raises(Refused, match=told):
            await anext(client.bidi("Exec", frames(), ExecFrame))


async def test_method_without_handler(client: ControlClient) -> None:
    with pytest.raises(Refused, match="Rollback is not supported yet"):
        await client.call("Rollback", Empty(), Text)


async def test_method_that_does_not_exist(client: ControlClient) -> None:
    with pytest.raises(Refused, match="does not know this request"):
        await client.call("Nonsense", Empty(), Text)


async def test_request_of_the_wrong_shape(client: ControlClient) -> None:
    with pytest.raises(Refused, match="not a ApplyRequest"):
        await client.call("Apply", NameRequest(name="x"), ApplyAnswer)


async def test_no_cluster_here(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No cluster runs here"):
        async with ControlClient(tmp_path / "none.sock"):
            pass


async def test_socket_of_a_dead_manager(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    server = await asyncio.start_unix_server(lambda r, w: None, path)
    server.close()
    await server.wait_closed()
    path.touch()
    async with ControlClient(path) as client:
        with pytest.raises(Unavailable, match="does not answer"):
            await client.call("Version", Empty(), Text)
    again = ControlServer(METHODS, permit)
    path.unlink()
    await again.start(path)
    async with ControlClient(path) as client:
        await client.call("Version", Empty(), Text)
    await again.stop(0)


def test_handlers_must_be_in_the_proto_file() -> None:
    with pytest.raises(ValueError, match="Nonsense"):
        ControlServer({"Nonsense": Method(Empty, version)}, permit)
