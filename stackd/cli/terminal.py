"""Input as it is typed: waits for it without holding up anything else. Used by `exec` and
`status --watch`."""

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import AsyncIterator, Iterator

STDIN = 0
"""The process's own input, whatever stands for `sys.stdin`."""


async def readable(descriptor: int) -> None:
    """Return once there is something to read. The watch ends with its first call: a second one
    would tell of what has been read meanwhile."""
    loop = asyncio.get_running_loop()
    found = loop.create_future()

    def tell() -> None:
        loop.remove_reader(descriptor)
        found.set_result(None)

    loop.add_reader(descriptor, tell)
    try:
        await found
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def unbuffered(descriptor: int) -> Iterator[None]:
    """Keys come one by one and are not echoed, for as long as this lasts; Ctrl-C works on."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def keys(descriptor: int) -> AsyncIterator[str]:
    """Each key as it is pressed, until the input ends."""
    while True:
        await readable(descriptor)
        pressed = os.read(descriptor, 64)
        if not pressed:
            return
        for key in pressed.decode("utf-8", "replace"):
            yield key
