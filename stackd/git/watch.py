"""When to look at a repository: a local one when its references change, a remote one on a timer.

Called by `manager.source`. Jitter comes from outside, so that many repositories do not ask one
server at once and tests know the delays.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from watchfiles import Change, awatch

from stackd.errors import Refused, Unavailable

FIRST_RETRY = 1.0
LAST_RETRY = 300.0
"""Seconds: errors back off from the first to the last, doubling."""


class Pace:
    """Seconds until the next look. `jitter` gives a number from 0 up to 1."""

    def __init__(self, interval: float, jitter: Callable[[], float]) -> None:
        self._interval = interval
        self._jitter = jitter
        self._failures = 0

    def next(self, *, failed: bool) -> float:
        """After a look: about the interval, or the back-off while it fails."""
        share = 0.9 + 0.2 * self._jitter()
        if not failed:
            self._failures = 0
            return self._interval * share
        delay: float = min(FIRST_RETRY * 2**self._failures, LAST_RETRY)
        self._failures = min(self._failures + 1, 20)
        return delay * share


def git_folder(path: Path) -> Path:
    """The folder that holds HEAD and refs. Raises Refused when `path` is no repository."""
    for folder in (path / ".git", path):
        if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
            return folder
    raise Refused(f"{path} is not a Git repository.", "Give a folder with .git or a bare one.")


async def local_changes(path: Path) -> AsyncIterator[None]:
    """Yields each time a reference of a local repository may have changed. Raises Unavailable when
    it cannot be watched (it is gone, or the system has no watches left)."""
    folder = git_folder(path)

    def concerns(_: Change, name: str) -> bool:
        inside = name.removeprefix(f"{folder}/")
        return inside.startswith(("refs/", "reftable/")) or inside in ("HEAD", "packed-refs")

    watching = awatch(folder, watch_filter=concerns, debounce=100, step=20, rust_timeout=60_000)
    try:
        async for _ in watching:
            yield
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"{path} cannot be watched.", "It is polled instead.") from error
    raise Unavailable(f"{path} is no longer watched.")
