"""Which logs of ended tasks go when they take too much."""

import os
from pathlib import Path

from stackd.host import logfiles


def log(logs: Path, task: str, at: float, size: int) -> None:
    folder = logs / task
    folder.mkdir()
    current, held = folder / "ctr.log", folder / "ctr.log.held"
    current.write_bytes(b"x" * size)
    os.link(current, held)
    for path in (current, folder):
        os.utime(path, (at, at))


def test_the_oldest_of_those_that_do_not_run_go_until_the_rest_fits(tmp_path: Path) -> None:
    for task, at in (("oldest", 1), ("runs", 2), ("older", 3), ("newest", 4)):
        log(tmp_path, task, at, 10_000)
    assert logfiles.trim(tmp_path, ("runs",), most=60_000) == []
    assert logfiles.trim(tmp_path, ("runs",), most=20_000) == ["oldest", "older"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["newest", "runs"]
