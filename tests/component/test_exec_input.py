"""What `stackd exec` reads from its own input, on real pipes and files."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackd.cli.exec_ import read_input
from stackd.core.model.api import ExecFrame


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(read end, write end)."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def test_each_piece_is_sent_at_once_and_nothing_is_held_up(pipe: tuple[int, int]) -> None:
    frames: asyncio.Queue[ExecFrame] = asyncio.Queue()
    rescue = threading.Timer(10, os.write, (pipe[1], b"rescue"))  # were the loop to be blocked
    rescue.start()
    reader = asyncio.ensure_future(read_input(pipe[0], frames))
    try:
        for piece in (b"one", b"two"):
            os.write(pipe[1], piece)
            assert await frames.get() == ExecFrame(data=piece)
            for _ in range(20):
                await asyncio.sleep(0)
            assert frames.empty()
        assert rescue.is_alive()
    finally:
        rescue.cancel()
        reader.cancel()
        await asyncio.wait([reader])


async def test_the_end_is_told() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"last")
    os.close(writing)
    frames: asyncio.Queue[ExecFrame] = asyncio.Queue()
    await read_input(reading, frames)
    os.close(reading)
    assert [frames.get_nowait() for _ in range(2)] == [
        ExecFrame(data=b"last"),
        ExecFrame(end=True),
    ]


async def test_a_file_is_sent_whole(tmp_path: Path) -> None:
    place = tmp_path / "input"
    place.write_bytes(b"x" * 40_000)
    frames: asyncio.Queue[ExecFrame] = asyncio.Queue()
    with place.open("rb") as file:
        await read_input(file.fileno(), frames)
    found = [frames.get_nowait() for _ in range(frames.qsize())]
    assert b"".join(frame.data for frame in found) == b"x" * 40_000
    assert found[-1].end
