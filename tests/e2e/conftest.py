"""One cluster for all tests that do not need their own.

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

import pytest

from tests.e2e import truth
from tests.e2e.cluster import Cluster, until

_PLACE = Path("/var/tmp")
_PREFIX = "stackd-e2e-"


@pytest.fixture(scope="session", autouse=True)
def abandoned() -> None:
    """Purge what killed runs have left; one of the processes of this run does."""
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
def _place() -> Iterator[Cluster]:
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


@pytest.fixture
def fresh() -> Iterator[Cluster]:
    """A cluster that is not up yet."""
    with _place() as made:
        yield made


@pytest.fixture
def own_cluster(fresh: Cluster) -> Cluster:
    """A cluster that a test may break."""
    fresh.up()
    return fresh


@pytest.fixture(scope="module")
def apart() -> Iterator[Cluster]:
    """A cluster of a test module's own, not up yet."""
    with _place() as made:
        yield made


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster with the demo image."""
    with _place() as made:
        made.up()
        yield made


@pytest.fixture(scope="session")
def three() -> Iterator[Cluster]:
    """A running cluster of three nodes that are lost after 3 s, with the demo image. A test that
    breaks a node mends it."""
    with _place() as made:
        made.up("--nodes", "3", "--heartbeat", "1")
        yield made
