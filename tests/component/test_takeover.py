"""The command line while one manager goes and the next one comes."""

import asyncio
import contextlib
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stackd.aio.layout import ClusterLayout
from stackd.core.model.api import (
    ApplyAnswer,
    ApplyRequest,
    EventRow,
    EventsRequest,
    NameRequest,
    ScaleRequest,
    TaskRows,
    Text,
    WaitAnswer,
    WaitRequest,
)
from stackd.core.model.cluster import ClusterFile
from stackd.host import cluster
from stackd.manager.permit import permit
from stackd.wire.control import Caller, ControlServer, Method
from tests.component.cli.manager import EVENT, SPEC
from tests.component.cli.shell import Shell

pytestmark = pytest.mark.host  # sockets are in /run/stackd
LASTING = "import time; time.sleep(600)"


@dataclass
class Cluster:
    """A cluster whose managers are fakes: one at a time, until it goes."""

    layout: ClusterLayout
    term: int = 0
    events: list[EventRow] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    server: ControlServer | None = None
    busy: asyncio.Event = field(default_factory=asyncio.Event)

    async def lead(self) -> None:
        """The next manager takes over."""
        self.term += 1
        self.busy = asyncio.Event()
        methods = {
            "Apply": Method(ApplyRequest, self._apply),
            "Scale": Method(ScaleRequest, self._scale),
            "Ps": Method(NameRequest, self._ps),
            "Wait": Method(WaitRequest, self._wait),
            "Events": Method(EventsRequest, self._tell),
        }
        self.server = ControlServer(methods, permit)
        await self.server.start(self.layout.control_socket)

    async def go(self) -> None:
        """It ends in the middle of what it does."""
        assert self.server is not None
        await self.server.stop(0)

    async def _first(self) -> None:
        """The first manager never comes to the end of it."""
        if self.term == 1:
            self.busy.set()
            await asyncio.Event().wait()

    async def _apply(self, request: ApplyRequest, caller: Caller) -> ApplyAnswer:
        self.asked.append(request)
        await self._first()
        return ApplyAnswer(stack=request.spec.name, release=3, changed=False, plan_hash="h")

    async def _scale(self, request: ScaleRequest, caller: Caller) -> Text:
        self.asked.append(request)
        await self._first()
        return Text(text="done")

    async def _ps(self, request: NameRequest, caller: Caller) -> TaskRows:
        return TaskRows(tasks=())

    async def _wait(self, request: WaitRequest, caller: Caller) -> AsyncIterator[WaitAnswer]:
        self.asked.append(request)
        yield WaitAnswer(code=-1, text=f"term {self.term}")
        await self._first()
        text = f"not within {request.timeout:g}s: term {self.term}"
        yield WaitAnswer(code=4 if request.release == 9 else 0, text=text)

    async def _tell(self, request: EventsRequest, caller: Caller) -> AsyncIterator[EventRow]:
        self.asked.append(request)
        for event in self.events[-request.tail :] if request.tail >= 0 else self.events:
            yield event
        self.busy.set()
        await asyncio.Event().wait()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that is up, in the eyes of the command line: somebody starts its manager."""
    layout = ClusterLayout(tmp_path, "t" + secrets.token_hex(4))
    cluster.write(tmp_path, ClusterFile(id=layout.cluster))
    layout.run.mkdir(mode=0o700, parents=True)
    with subprocess.Popen([sys.executable, "-c", LASTING, layout.cluster]) as keeper:
        (layout.run / "supervisor.pid").write_text(f"{keeper.pid}\n")
        try:
            yield Cluster(layout)
        finally:
            keeper.kill()
            shutil.rmtree(layout.run, ignore_errors=True)


@contextlib.asynccontextmanager
async def led(made: Cluster) -> AsyncIterator[Cluster]:
    """With its first manager."""
    await made.lead()
    try:
        yield made
    finally:
        await made.go()


@pytest.fixture
def shell(made: Cluster, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(made.layout.data, capfd)


@pytest.fixture
def stack_file(tmp_path: Path) -> str:
    path = tmp_path / "shop.stack.yml"
    path.write_text(SPEC)
    return str(path)


def process(made: Cluster, *words: str) -> "subprocess.Popen[str]":
    """A command as a process of its own, for what it says while it runs."""
    argv = (sys.executable, "-m", "stackd", "--data", str(made.layout.data), *words)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def over(made: Cluster, command: Awaitable[int], between: Callable[[], None]) -> int:
    """The code of a command in the middle of which the manager goes and another comes."""
    running = asyncio.ensure_future(command)
    await made.busy.wait()
    await made.go()
    between()
    await asyncio.sleep(0.3)  # nobody is there for a while
    await made.lead()
    return await running


def nothing() -> None:
    """Nothing happens meanwhile."""


async def test_a_command_waits_for_the_manager_that_is_to_come(made: Cluster) -> None:
    with socket.socket(socket.AF_UNIX) as left:  # as a killed one leaves it
        left.bind(str(made.layout.control_socket))
    with process(made, "ps", "-o", "json") as command:
        assert command.stderr is not None
        said = await asyncio.to_thread(command.stderr.readline)
        assert said.startswith("The manager is taking over … ")
        async with led(made):
            out, _ = await asyncio.to_thread(command.communicate)
    assert (command.returncode, out) == (0, "[]\n")


async def test_nobody_is_waited_for_when_the_cluster_is_down(made: Cluster, shell: Shell) -> None:
    (made.layout.run / "supervisor.pid").write_text("0\n")
    assert await shell("ps") == 1
    assert "is not running" in shell.err
    assert "stackd up" in shell.err


async def test_a_wait_goes_on_with_the_next_manager(made: Cluster, shell: Shell) -> None:
    async with led(made):
        assert await over(made, shell("wait", "shop", "--release", "3"), nothing) == 0
    assert [line for line in shell.err.splitlines() if "term" in line] == [
        *("shop: term 1", "shop: term 2"),
    ]
    first, second = made.asked
    assert (first.timeout, first.release) == (900, 3)
    assert 890 < second.timeout < 900
    assert msgspec.structs.replace(second, timeout=900.0) == first


async def test_a_wait_that_is_too_late_says_for_how_long_in_all(
    made: Cluster, shell: Shell
) -> None:
    async with led(made):
        words = ("wait", "shop", "--release", "9", "--timeout", "5m")
        assert await over(made, shell(*words), nothing) == 4
    assert shell.out == "not within 300s: term 2\n"


async def test_apply_is_asked_again_and_waited_for(
    made: Cluster, shell: Shell, stack_file: str
) -> None:
    async with led(made):
        assert await over(made, shell("apply", "-f", stack_file, "--wait"), nothing) == 0
    assert [type(one) for one in made.asked] == [ApplyRequest, ApplyRequest, WaitRequest]
    assert made.asked[0] == made.asked[1]
    assert "asking again" in shell.err
    assert made.asked[2].release == 3


@pytest.mark.parametrize("words", [("scale", "shop/web=3"), ("apply", "--plan", "h", "-f")])
async def test_what_may_have_been_done_is_not_asked_again(
    made: Cluster, shell: Shell, words: tuple[str, ...], stack_file: str
) -> None:
    given = (*words, stack_file) if words[0] == "apply" else words
    async with led(made):
        assert await over(made, shell(*given), nothing) == 1
    assert len(made.asked) == 1
    assert "The manager has gone before it answered." in shell.err
    assert "It may have been done" in shell.err


async def test_events_are_followed_without_a_gap_or_a_double(made: Cluster) -> None:
    made.events = [msgspec.structs.replace(EVENT, id=f"e{n}", text=f"{n}") for n in range(1, 5)]
    later = [msgspec.structs.replace(EVENT, id=f"e{n}", text=f"{n}") for n in (5, 6)]
    async with led(made):
        with process(made, "events", "--follow", "--tail", "2") as command:
            assert command.stdout is not None
            lines = [await asyncio.to_thread(command.stdout.readline) for _ in range(2)]
            await made.go()
            made.events += later
            await made.lead()
            lines += [await asyncio.to_thread(command.stdout.readline) for _ in range(2)]
            command.terminate()
            rest, _ = await asyncio.to_thread(command.communicate)
    assert [line.split()[1] for line in lines] == ["e3", "e4", "e5", "e6"]
    assert (rest, made.asked[1].tail) == ("", -1)
