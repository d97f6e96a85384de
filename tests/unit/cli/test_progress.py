"""What a command that lasts says meanwhile."""

import io

from stackd.aio.clock import ManualClock, settle
from stackd.cli.progress import progress


class Terminal(io.StringIO):
    """A screen."""

    def isatty(self) -> bool:
        return True


async def test_nothing_is_said_in_the_first_second() -> None:
    out, clock = io.StringIO(), ManualClock()
    async with progress("Loading", out, clock):
        await settle()
        await clock.advance(0.9)
    assert out.getvalue() == ""


async def test_without_a_terminal_lines_are_few_and_stay() -> None:
    out, clock = io.StringIO(), ManualClock()
    async with progress("Loading a\x1b[2J", out, clock) as shown:
        await settle()
        await clock.advance(15)
        shown.text = "Waiting"
        await clock.advance(3)
    assert out.getvalue().splitlines() == [
        *("Loading a\\x1b[2J … 1 s", "Loading a\\x1b[2J … 11 s", "Waiting … 16 s"),
    ]


async def test_on_a_terminal_one_line_counts_and_goes() -> None:
    out, clock = Terminal(), ManualClock()
    async with progress("Loading", out, clock):
        await settle()
        await clock.advance(2.5)
    assert out.getvalue().split("\r\x1b[K") == ["", "Loading … 1 s", "Loading … 2 s", ""]


async def test_a_broken_pipe_stops_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    done = False
    async with progress("Loading", Broken(), clock := ManualClock()):
        await settle()
        await clock.advance(2)
        done = True
    assert done
