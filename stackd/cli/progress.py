"""Says on standard error what a command that lasts is doing, and for how long already.

Used by `connect.call` for every call, and by `up` and `down`. Nothing is said in the first second.
"""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from typing import TextIO

from stackd.aio.clock import Clock, SystemClock
from stackd.cli.output import clean

QUIET = 1.0
"""Seconds before anything is said."""
EACH = 10.0
"""Seconds between two lines where there is no terminal; on one the line counts the seconds."""
_ERASE = "\r\x1b[K"


class Progress:
    """`text`: what is being done now; may be changed at any time."""

    def __init__(self, text: str, out: TextIO, clock: Clock) -> None:
        self.text = text
        self._out = out
        self._clock = clock
        self._began = clock.now()

    async def run(self) -> None:
        """Say it until cancelled; on a terminal nothing of it stays."""
        await self._clock.sleep(QUIET)
        if self._out.isatty():
            await self._redraw()
        while True:
            said, at = self.text, self._clock.now()
            self._write(f"{self._line()}\n")
            while self.text == said and self._clock.now() - at < EACH:
                await self._clock.sleep(QUIET)

    async def _redraw(self) -> None:
        try:
            while True:
                width = shutil.get_terminal_size().columns - 1
                self._write(f"{_ERASE}{self._line()[:width]}")
                await self._clock.sleep(QUIET)
        finally:
            self._write(_ERASE)

    def _line(self) -> str:
        return f"{clean(self.text)} … {self._clock.now() - self._began:.0f} s"

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody looks any more
            self._out.write(text)
            self._out.flush()


@contextlib.asynccontextmanager
async def progress(
    text: str, out: TextIO | None = None, clock: Clock | None = None
) -> AsyncIterator[Progress]:
    """Say `text` while the block lasts longer than a second."""
    shown = Progress(text, out or sys.stderr, clock or SystemClock())
    ticking = asyncio.ensure_future(shown.run())
    try:
        yield shown
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
