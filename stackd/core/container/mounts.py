"""User mounts, config and secret files: which are allowed, who owns the files, what the OCI says.

Called by `oci` and by the runtime, which prepares the sources on the host.
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from stackd.core.container.users import User
from stackd.core.model.container import Mount, MountKind
from stackd.core.model.driver import FileContent
from stackd.errors import Rejected

_CLOSED = ("/proc", "/sys", "/dev")
_TMPFS_SIZE = 64 * 1024 * 1024
_SECRET_MODE = 0o400
_CONFIG_MODE = 0o444


@dataclass(frozen=True, slots=True)
class Access:
    """Owner and permission bits of a file shown to a container."""

    uid: int
    gid: int
    mode: int


def access(file: FileContent, user: User) -> Access:
    """As given; else owned by the task's user, a secret 0400 and a config 0444. An image that
    starts as root may change to any user later, so there a secret is 0444."""
    if file.mode is not None:
        mode = file.mode
    elif file.secret and user.uid != 0:
        mode = _SECRET_MODE
    else:
        mode = _CONFIG_MODE
    uid = user.uid if file.uid is None else file.uid
    gid = user.gid if file.gid is None else file.gid
    return Access(uid, gid, mode & 0o7777)


def normal(target: str) -> str:
    """The target as an absolute path without `.`, `..` and doubled slashes. Raises Rejected."""
    if not target.startswith("/") or "\0" in target:
        raise Rejected(
            f"The mount target {target!r} is not an absolute path.", "Correct the target."
        )
    return "/" + posixpath.normpath(target).lstrip("/")


def closed(path: str) -> bool:
    """True for the trees that belong to the runtime: /proc, /sys, /dev (but for /dev/shm)."""
    if path == "/dev/shm":
        return False
    return any(path == top or path.startswith(top + "/") for top in _CLOSED)


def check(mounts: Sequence[Mount], files: Sequence[FileContent]) -> None:
    """Refuse targets that would hide or cross the runtime's own mounts, twins, and mounts inside
    a volume that other running tasks may write (they could move the mount point meanwhile).

    Raises Rejected.
    """
    seen: set[str] = set()
    for target in (*(m.target for m in mounts), *(f.target for f in files)):
        path = normal(target)
        if path == "/" or closed(path):
            raise Rejected(
                f"Nothing may be mounted at {path}.",
                "Choose a target outside /, /proc, /sys, /dev.",
            )
        if path in seen:
            raise Rejected(f"Two mounts have the target {path}.", "Remove one of them.")
        seen.add(path)
    for mount in mounts:
        inside = normal(mount.target) + "/"
        if mount.shared and not mount.read_only and any(p.startswith(inside) for p in seen):
            raise Rejected(
                f"A mount lies inside the shared writable volume at {mount.target}.",
                "Mount it elsewhere, or make the volume read-only here.",
            )


def render(mounts: Iterable[Mount], sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """OCI mounts; `sources` gives the host path of each volume and bind by its target."""
    return [_one(mount, sources) for mount in mounts]


def _one(mount: Mount, sources: Mapping[str, str]) -> dict[str, Any]:
    mode = "ro" if mount.read_only else "rw"
    target = normal(mount.target)
    match mount.kind:
        case MountKind.TMPFS:
            size = mount.size or _TMPFS_SIZE
            options = ["nosuid", "nodev", mode, f"size={size}", f"mode={mount.mode:o}"]
            return {
                "destination": target,
                "type": "tmpfs",
                "source": "tmpfs",
                "options": options,
            }
        case MountKind.VOLUME | MountKind.BIND:
            return bind(sources[mount.target], target, mode, "nosuid", "nodev")
        case never:
            assert_never(never)


def bind(source: str, target: str, *options: str) -> dict[str, Any]:
    """An OCI bind mount with private propagation."""
    return {
        "destination": target,
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", *options],
    }


def ordered(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outer mounts before those inside them, otherwise as given."""
    return sorted(entries, key=lambda entry: str(entry["destination"]).count("/"))
