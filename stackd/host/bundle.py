"""A task's folders and files on the host, before its container exists and after it has gone.

Called by the runtime. On disk: `containers/<task>` with the writable layer. On the node's tmpfs:
`b/<task>`, the bundle, with the config (which holds the environment), the files bound under /etc
and, in a file system of its own that is never swapped, the configs and secrets.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.aio.layout import NodeLayout
from stackd.core.container import mounts as wanted_mounts
from stackd.core.container.users import User
from stackd.core.model.driver import FileContent
from stackd.errors import Rejected
from stackd.host import mounts, volumes

_PAGE = 4096
_SPARE = 64


@dataclass(frozen=True, slots=True)
class Home:
    """Where one task's things are."""

    id: str
    disk: Path
    bundle: Path
    state: Path
    """runc's folder for it."""
    exit_file: Path
    log: Path
    cgroup: str

    @property
    def upper(self) -> Path:
        """The writable layer."""
        return self.disk / "upper"

    @property
    def merged(self) -> Path:
        return self.disk / "merged"

    @property
    def secrets(self) -> Path:
        return self.bundle / "files"


def home(layout: NodeLayout, task_id: str) -> Home:
    """The places of a task of this node."""
    return Home(
        id=task_id,
        disk=layout.containers / task_id,
        bundle=layout.bundles / task_id,
        state=layout.runc / task_id,
        exit_file=layout.exits / task_id,
        log=layout.logs / task_id / "ctr.log",
        cgroup=f"{layout.cgroup}/{task_id}",
    )


def make_root(place: Home, layers: Sequence[Path]) -> None:
    """Mount the layers (lowest first) with a fresh writable one on top. Raises Rejected,
    Unavailable. The writable layer's own folder takes the image root's owner and mode, for it
    becomes `/`."""
    if not layers:
        raise Rejected("The image has no layers.", "Use an image that is built soundly.")
    for name in ("upper", "work", "merged"):
        (place.disk / name).mkdir(parents=True, mode=0o700)
    top = os.stat(layers[-1])
    os.chown(place.upper, top.st_uid, top.st_gid)
    os.chmod(place.upper, top.st_mode & 0o7777)
    lower = [layer for layer in reversed(layers)]
    mounts.overlay(mounts.Overlay(lower, place.upper, place.disk / "work", place.merged))


def make_bundle(place: Home, etc: Mapping[str, str]) -> None:
    """The bundle's folder with the files for /etc, and the folder of the log."""
    place.bundle.mkdir(mode=0o700)
    place.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = place.bundle / "etc"
    folder.mkdir(mode=0o755)
    for name, text in etc.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o644)


def write_config(place: Home, text: str) -> None:
    """config.json, readable by root only."""
    handle = os.open(place.bundle / "config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def write_files(place: Home, files: Sequence[FileContent], user: User) -> None:
    """Configs and secrets, numbered as in `files`, in memory that is never swapped."""
    if not files:
        return
    place.secrets.mkdir(mode=0o755)
    pages = sum(-(-len(file.value) // _PAGE) + 1 for file in files)
    mounts.secret_tmpfs(place.secrets, (pages + _SPARE) * _PAGE, len(files) + _SPARE)
    for number, file in enumerate(files):
        access = wanted_mounts.access(file, user)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        handle = os.open(place.secrets / str(number), flags, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(file.value)
            out.flush()
            os.fchown(handle, access.uid, access.gid)
            os.fchmod(handle, access.mode)


def remove(place: Home) -> None:
    """Unmount and delete all of it but the log. Idempotent. Raises OSError when the kernel or the
    disk refuses; calling it again goes on."""
    volumes.release(place.bundle)
    mounts.unmount_all(place.secrets)
    mounts.unmount_all(place.merged)
    for folder in (place.state, place.bundle, place.disk):
        if folder.exists():
            shutil.rmtree(folder)
    place.exit_file.unlink(missing_ok=True)
