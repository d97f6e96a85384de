"""Processor time of everything that one side of `make bench` runs: it is hurt least by what else
the machine does.

The benchmark enters a control group, so that what it starts is counted there; containers, and what
moves into groups of its own, are counted in the groups that the side names.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OLD = _ROOT / "cpuacct"
_CPU = _OLD if _OLD.is_dir() else _ROOT
GROUP = f"stackd-bench-{os.getpid()}"


def seconds(groups: Iterable[str]) -> float:
    """Used so far by these groups, and what is below them, together."""
    return sum(_used(_CPU / name) for name in groups)


def _used(group: Path) -> float:
    if _OLD.is_dir():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    lines = (line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(dict(lines)["usage_usec"]) / 1e6


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Be in `GROUP` for as long as this lasts."""
    before = _mine()
    for left in _CPU.glob("stackd-bench-*"):
        with contextlib.suppress(OSError):  # somebody is in it
            left.rmdir()
    group = _CPU / GROUP
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (_CPU / before / "cgroup.procs").write_text(str(os.getpid()))
        with contextlib.suppress(OSError):  # a daemon that is still ending
            group.rmdir()


def _mine() -> str:
    """The group this process is in, relative to the root."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if "cpuacct" in kinds.split(",") or (not kinds and not _OLD.is_dir()):
            return path.lstrip("/")
    return ""
