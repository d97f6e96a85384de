"""The node's folder under /run: a tmpfs that the node mounts itself.

Called at start by the agent and by the spawner (whoever comes first makes it), and by `down
--purge` to remove it. /run is not a tmpfs everywhere, and what survived a reboot in it would
describe processes that are gone; so the boot id is kept inside and an older content is dropped.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from stackd.aio.layout import NodeLayout
from stackd.host import mounts

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FLAGS = mounts.MS_NOSUID | mounts.MS_NODEV


def prepare(layout: NodeLayout) -> None:
    """Mount the tmpfs, if it is not there or is of another boot, and make the folders in it.

    Idempotent, and safe when agent and spawner start at once. Raises OSError.
    """
    layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(layout.run.parent / f".{layout.name}.lock"):
        boot = _BOOT_ID.read_text().strip()
        mark = layout.run / "boot_id"
        current = mounts.is_mounted(layout.run)
        if current and mark.exists() and mark.read_text() != boot:
            mounts.unmount_all(layout.run)
            current = False
        if not current:
            mounts.mount("stackd", str(layout.run), "tmpfs", _FLAGS, "mode=0700")
            mounts.mount("none", str(layout.run), "none", mounts.MS_PRIVATE)
        mark.write_text(boot)
        for folder in (layout.bundles, layout.exits, layout.runc):
            folder.mkdir(mode=0o700, exist_ok=True)


def prepare_data(layout: NodeLayout) -> None:
    """Make the node's durable folders, 0700: set-user-id files of images lie below them."""
    layout.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(layout.data, 0o700)
    for folder in (
        layout.layers,
        layout.images,
        layout.containers,
        layout.logs,
        layout.volumes,
    ):
        folder.mkdir(exist_ok=True, mode=0o700)


def purge(layout: NodeLayout) -> None:
    """Unmount and remove the folder under /run. Nothing may run on the node any more."""
    mounts.unmount_all(layout.run)
    with contextlib.suppress(FileNotFoundError, OSError):
        layout.run.rmdir()
    (layout.run.parent / f".{layout.name}.lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        layout.run.parent.rmdir()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
