"""`stackd status STACK/SERVICE --watch` on a real terminal: what is drawn, and the keys."""

import asyncio
import fcntl
import os
import pty
import secrets
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from stackd.aio.layout import ClusterLayout
from stackd.core.model.api import (
    NameRequest,
    RolloutAnswer,
    RolloutRequest,
    StackStatus,
    StatusAnswer,
    TaskRows,
    Text,
)
from stackd.core.model.cluster import ClusterFile
from stackd.errors import Refused
from stackd.host import cluster
from stackd.manager.permit import permit
from stackd.wire.control import Caller, ControlServer, Method
from tests.unit.cli.test_drawing import NEW, SERVICE, TASK

pytestmark = pytest.mark.host  # sockets are in /run/stackd


class Manager:
    """Handlers that tell what was asked; the service is paused until promoted."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.layout = ClusterLayout(data, "t" + secrets.token_hex(4))
        self.asked: list[tuple[str, str]] = []
        self.changed = asyncio.Event()
        self.phase = "paused"
        self.steps = SERVICE.step
        self.hang = asyncio.Event()
        self.hang.set()

    def methods(self) -> dict[str, Method]:
        return {
            "Watch": Method(NameRequest, self._watch),
            "Status": Method(NameRequest, self._status),
            "Ps": Method(NameRequest, self._ps),
            "Promote": Method(RolloutRequest, self._promote),
            "Abort": Method(RolloutRequest, self._abort),
        }

    async def _status(self, request: NameRequest, caller: Caller) -> StatusAnswer:
        service = msgspec.structs.replace(SERVICE, phase=self.phase, step=self.steps)
        stack = StackStatus(
            stack="shop",
            release=12,
            commit="",
            seen_commit="",
            owner="cli",
            phase=self.phase,
            services=(service,),
        )
        return StatusAnswer(stacks=(stack,), service=request.name.partition("/")[2])

    async def _watch(self, request: NameRequest, caller: Caller) -> AsyncIterator[StatusAnswer]:
        while True:
            yield await self._status(request, caller)
            await self.changed.wait()
            self.changed.clear()

    async def _ps(self, request: NameRequest, caller: Caller) -> TaskRows:
        return TaskRows(tasks=(TASK,))

    async def _promote(self, request: RolloutRequest, caller: Caller) -> Text:
        self.asked.append(("promote", f"{request.revision} at step {request.step}"))
        self.steps = 2
        self.phase = "progressing"
        self.changed.set()
        await self.hang.wait()
        return Text(text=f"{request.name} goes on.")

    async def _abort(self, request: RolloutRequest, caller: Caller) -> RolloutAnswer:
        self.asked.append(("abort", f"{request.revision} at step {request.step}"))
        raise Refused(f"{request.name} is going back already.", "Wait for its end.")


@pytest_asyncio.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    one = Manager(tmp_path)
    cluster.write(tmp_path, ClusterFile(id=one.layout.cluster))
    server = ControlServer(one.methods(), permit)
    try:
        await server.start(one.layout.control_socket)
        yield one
    finally:
        await server.stop(0)
        shutil.rmtree(one.layout.run, ignore_errors=True)


class Terminal:
    """A terminal of its own with a command in it."""

    def __init__(self, data: Path, *words: str) -> None:
        self.seen = ""
        self._end, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
        self.before = termios.tcgetattr(self._end)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stackd", "--data", str(data), *words],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(inside)

    async def shows(self, text: str) -> None:
        """Wait until `text` is drawn after what was seen before."""
        while text not in self.seen:
            assert self.process.poll() is None, self.seen
            self.seen += await asyncio.to_thread(self._read)
        self.seen = self.seen.partition(text)[2]

    def _read(self) -> str:
        try:
            return os.read(self._end, 65536).decode()
        except OSError:  # nothing has it open any more
            return ""

    def press(self, key: str) -> None:
        os.write(self._end, key.encode())

    async def ends(self) -> int:
        """The exit code; what is still written is read, so that nobody waits for room."""
        code = await asyncio.to_thread(self.process.wait, 30)
        self.seen += await asyncio.to_thread(self._read)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


@pytest.fixture
def watching(manager: Manager) -> Iterator[Terminal]:
    terminal = Terminal(manager.data, "status", "shop/web", "--watch")
    try:
        yield terminal
    finally:
        terminal.close()


async def test_keys_promote_abort_and_quit(manager: Manager, watching: Terminal) -> None:
    await watching.shows("॥ paused")
    await watching.shows("4m 1s left")
    await watching.shows("p promote")
    watching.press("x")  # means nothing
    watching.press("p")
    await watching.shows("◌ progressing")
    await watching.shows("shop/web goes on.")
    watching.press("a")
    await watching.shows("shop/web is going back already. Wait for its end.")
    # the pause and the rollout on the screen, none that came later
    seen = [("promote", f"{NEW} at step 1"), ("abort", f"{NEW} at step 2")]
    assert manager.asked == seen
    watching.press("q")
    assert await watching.ends() == 0
    assert "Traceback" not in watching.seen


async def test_a_key_is_about_what_was_shown_when_it_was_pressed(
    manager: Manager, watching: Terminal
) -> None:
    """The second `p` is pressed at the pause that the first is just ending."""
    await watching.shows("p promote")
    manager.hang.clear()
    watching.press("pp")
    await watching.shows("◌ progressing")  # step 2 is on the screen, the first is not answered yet
    manager.hang.set()
    await watching.shows("shop/web goes on.")
    watching.press("q")
    assert await watching.ends() == 0
    assert manager.asked == [("promote", f"{NEW} at step 1")] * 2


async def test_keys_are_not_echoed_and_the_terminal_is_left_as_it_was(watching: Terminal) -> None:
    await watching.shows("p promote")
    during = termios.tcgetattr(watching._end)
    assert not during[3] & (termios.ECHO | termios.ICANON)
    watching.press("q")
    assert await watching.ends() == 0
    after = termios.tcgetattr(watching._end)
    assert after[3] == watching.before[3]
