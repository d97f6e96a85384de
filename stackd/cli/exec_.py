"""`stackd exec`: run a command in a running task; its exit code is ours."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import typer

from stackd.cli.connect import connected, run
from stackd.cli.options import where
from stackd.cli.output import print_error
from stackd.cli.target import Target
from stackd.cli.terminal import STDIN, readable
from stackd.core.model.api import ExecFrame
from stackd.errors import Refused, StackdError

OWN_FAILURE = 125


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("exec", context_settings={"ignore_unknown_options": True})
    def exec_(
        context: typer.Context,
        task: Annotated[str, typer.Argument(metavar="STACK/SERVICE.SLOT|TASK")],
        command: Annotated[list[str] | None, typer.Argument(metavar="-- CMD…")] = None,
        terminal: Annotated[
            bool | None, typer.Option("--tty/--no-tty", help="Default: when stdin is a terminal.")
        ] = None,
    ) -> None:
        """Run a command in a task. Example: stackd exec shop/web.1 -- ps ax

        Exit codes: the command's; 125 stackd's own error, 126 not executable, 127 not found.
        """
        if not command:
            raise Refused("There is no command to run.", "Example: stackd exec shop/web.1 -- sh")
        with_tty = os.isatty(STDIN) if terminal is None else terminal
        size = shutil.get_terminal_size()
        first = ExecFrame(
            task=task, argv=tuple(command), tty=with_tty, rows=size.lines, columns=size.columns
        )
        try:
            with _raw_terminal(with_tty and os.isatty(STDIN)):
                code = run(_session(where(context), first))
        except StackdError as error:
            print_error(error)
            code = OWN_FAILURE
        raise SystemExit(code)


@contextlib.contextmanager
def _raw_terminal(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    before = termios.tcgetattr(STDIN)
    try:
        tty.setraw(STDIN)
        yield
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)


async def _session(target: Target, first: ExecFrame) -> int:
    frames: asyncio.Queue[ExecFrame] = asyncio.Queue(64)
    frames.put_nowait(first)
    loop = asyncio.get_running_loop()
    if first.tty:
        loop.add_signal_handler(signal.SIGWINCH, _resized, frames)
    reader = asyncio.ensure_future(read_input(STDIN, frames))
    try:
        async with connected(target) as connection:
            async for frame in connection.bidi("Exec", _drain(frames), ExecFrame):
                if frame.code is not None:
                    return frame.code
                out = sys.stderr if frame.stream == 2 else sys.stdout
                out.buffer.write(frame.data)
                out.buffer.flush()
    finally:
        reader.cancel()
        if first.tty:
            loop.remove_signal_handler(signal.SIGWINCH)
    raise Refused("The connection ended before the command did.", "See: stackd why on the task.")


def _resized(frames: "asyncio.Queue[ExecFrame]") -> None:
    size = shutil.get_terminal_size()
    with contextlib.suppress(asyncio.QueueFull):
        frames.put_nowait(ExecFrame(rows=size.lines, columns=size.columns))


async def _drain(frames: "asyncio.Queue[ExecFrame]") -> AsyncIterator[ExecFrame]:
    while True:
        yield await frames.get()


async def read_input(descriptor: int, frames: "asyncio.Queue[ExecFrame]") -> None:
    """What can be read, as it comes, up to its end. Read only when there is something, since a
    read that waits would hold up everything else."""
    try:
        while True:
            await readable(descriptor)
            data = os.read(descriptor, 32768)
            await frames.put(ExecFrame(data=data, end=not data))
            if not data:
                return
    except PermissionError:
        await _read_file(descriptor, frames)


async def _read_file(descriptor: int, frames: "asyncio.Queue[ExecFrame]") -> None:
    """A regular file cannot be polled; it never blocks either."""
    while data := os.read(descriptor, 32768):
        await frames.put(ExecFrame(data=data))
    await frames.put(ExecFrame(end=True))
