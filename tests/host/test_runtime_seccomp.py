"""Ordinary Debian programs under the system call list, and the calls it must refuse."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stackd.core.model.container import Mount, MountKind
from tests.host import programs
from tests.host import rig as rigs

pytestmark = pytest.mark.host


@pytest.fixture
async def rig() -> AsyncIterator[rigs.Rig]:
    async with rigs.rig() as made:
        yield made


def machine() -> tuple[Mount, ...]:
    """The machine's own programs, seen read-only, and the script to run with them."""
    folders = [path for path in ("/usr", "/lib", "/lib64") if Path(path).exists()]
    script = str(Path(programs.__file__).resolve())
    pairs = [*((path, path) for path in folders), (script, "/programs.py")]
    return tuple(
        Mount(kind=MountKind.BIND, source=source, target=target, read_only=True)
        for source, target in pairs
    )


@pytest.mark.parametrize("user", ["", "app"])
async def test_python_threads_sockets_and_processes(rig: rigs.Rig, user: str) -> None:
    tmp = Mount(kind=MountKind.TMPFS, target="/tmp")
    task = await rig.run(*("/usr/bin/python3", "/programs.py"), mounts=(*machine(), tmp), user=user)
    assert await rig.output(task) == "all as it should be\n"


async def test_apt_as_its_own_user(rig: rigs.Rig) -> None:
    """apt forks, drops to another user and locks files."""
    script = (
        "mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial;"
        "mkdir -p /var/lib/dpkg /etc/apt;"
        "touch /var/lib/dpkg/status; apt-get update && apt-get check && dpkg --version | head -1"
    )
    task = await rig.run("/usr/bin/bash", "-c", script, mounts=machine())
    text = await rig.output(task)
    assert (await rig.runtime.wait(task)).code == 0, text
    assert "Debian" in text
