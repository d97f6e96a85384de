"""Control groups of both versions: by path relative to each hierarchy's root.

Used by the runtime (kill, remove, out-of-memory counts), the spawner (a group of its own) and
`down`. A path is the same in every hierarchy, as runc makes it from `cgroupsPath`.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_BUSY_TRIES = 50
_BUSY_WAIT = 0.002


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The roots of all mounted hierarchies; `unified` is the one of version 2, if any."""

    roots: tuple[Path, ...]
    unified: Path | None

    @property
    def pure_v2(self) -> bool:
        return self.roots == (self.unified,)

    def controller(self, name: str) -> Path | None:
        """The root where a controller's files are."""
        for root in self.roots:
            if name in root.name.split(","):
                return root
        return self.unified if self.pure_v2 else None


def discover() -> Hierarchies:
    """What is mounted on this machine."""
    roots: list[Path] = []
    unified = None
    for line in _MOUNTS.read_text().splitlines():
        _, target, kind, *_ = line.split(" ")
        if kind == "cgroup2" and unified is None:
            unified = Path(target)
        if kind in ("cgroup", "cgroup2") and Path(target) not in roots:
            roots.append(Path(target))
    return Hierarchies(tuple(roots), unified)


def enter(hierarchies: Hierarchies, path: str) -> None:
    """Make the group in every hierarchy and move the calling process there. Best effort in each:
    a hierarchy that refuses (cpuset without cpus) is left alone."""
    for root in hierarchies.roots:
        folder = root / path.lstrip("/")
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            _inherit_cpuset(root, folder)
            (folder / "cgroup.procs").write_text(str(os.getpid()))


def _inherit_cpuset(root: Path, folder: Path) -> None:
    """A new cpuset group of version 1 has no cpus until it is given its parent's."""
    if not (root / "cpuset.cpus").exists():
        return
    parts = folder.relative_to(root).parts
    for depth in range(1, len(parts) + 1):
        here = root.joinpath(*parts[:depth])
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (here / name).exists() and not (here / name).read_text().strip():
                (here / name).write_text((here.parent / name).read_text())


def children(hierarchies: Hierarchies, path: str) -> set[str]:
    """Names of the groups directly below `path` in any hierarchy."""
    names: set[str] = set()
    for folder in _folders(hierarchies, path):
        with os.scandir(folder) as entries:
            names.update(entry.name for entry in entries if entry.is_dir())
    return names


def processes(hierarchies: Hierarchies, path: str) -> set[int]:
    """Every process in the group or below it, in any hierarchy."""
    return {
        pid for top in _folders(hierarchies, path) for folder in _tree(top) for pid in _pids(folder)
    }


def kill(hierarchies: Hierarchies, path: str, timeout: float = 10.0) -> bool:
    """SIGKILL all that is in the group until it is empty; False when `timeout` seconds were not
    enough. Blocks: run it in a thread."""
    deadline = time.monotonic() + timeout
    wait = 0.0005
    for folder in _folders(hierarchies, path):
        with contextlib.suppress(OSError):  # version 2 only, since Linux 5.14
            (folder / "cgroup.kill").write_text("1")
    while found := processes(hierarchies, path):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(wait)
        wait = min(wait * 2, 0.02)
    return True


def remove(hierarchies: Hierarchies, path: str) -> bool:
    """Remove the empty group with all below it from every hierarchy; False when one is busy."""
    return all([_rmdir_tree(folder) for folder in _folders(hierarchies, path)])


def oom_kills(hierarchies: Hierarchies, path: str) -> int:
    """How many processes of the group the kernel killed for lack of memory."""
    root = hierarchies.controller("memory")
    if root is None:
        return 0
    folder = root / path.lstrip("/")
    for name in ("memory.oom_control", "memory.events"):
        with contextlib.suppress(FileNotFoundError, OSError):
            for line in (folder / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def _folders(hierarchies: Hierarchies, path: str) -> Iterator[Path]:
    for root in hierarchies.roots:
        folder = root / path.lstrip("/")
        if folder.is_dir():
            yield folder


def _tree(top: Path) -> Iterator[Path]:
    """`top` and all below it, deepest first."""
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


def _pids(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []


def _rmdir_tree(top: Path) -> bool:
    for folder in _tree(top):
        for _ in range(_BUSY_TRIES):
            try:
                folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(_BUSY_WAIT)
        else:
            return False
    return True
