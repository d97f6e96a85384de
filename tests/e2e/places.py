"""Where clusters of tests lie, and that nothing of them is left behind. Used by the fixtures of
the end-to-end tests and by `tests.soak`.

Clusters lie in folders that carry the pid of the test run: those of a run that was killed are
purged by the next one.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.e2e import truth
from tests.e2e.cluster import Cluster, until

_PLACE = Path("/var/tmp")
_PREFIX = "stackd-e2e-"


def purge_abandoned() -> None:
    """Purge what killed runs have left; of several processes one does."""
    handle = os.open(_PLACE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for folder in _PLACE.glob(f"{_PREFIX}*"):
            owner = folder.name.removeprefix(_PREFIX).split("-")[0]
            if not Path("/proc", owner).exists():
                Cluster(folder / "data").down()
                if folder.is_mount():
                    subprocess.run(["umount", "--lazy", str(folder)], check=True)
                shutil.rmtree(folder)
    finally:
        os.close(handle)


@contextlib.contextmanager
def place() -> Iterator[Cluster]:
    """A cluster that is not up yet, in a folder of its own; nothing of it is left behind."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_PLACE))
    made = Cluster(folder / "data")
    try:
        yield made
    finally:
        known = (made.data / "cluster.json").exists()
        words = (made.id, str(folder)) if known else (str(folder),)
        made.down()
        shutil.rmtree(folder)
    until(lambda: not _left(*words), f"left: {_left(*words)}", 10)


def _left(*words: str) -> dict[str, set[str]]:
    return {kind: found for kind, found in truth.traces(*words).items() if found}
