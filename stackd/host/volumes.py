"""Named volumes of this node, and the host paths behind a task's mounts.

Called by the runtime before each creation. A volume is `volumes/<name>/data`; it appears by
rename, so a copy that was interrupted is never taken for a volume.
"""

import asyncio
import contextlib
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackd.aio import proc
from stackd.aio.layout import NodeLayout
from stackd.core.container import mounts as wanted_mounts
from stackd.core.model.container import Mount, MountKind
from stackd.errors import Rejected, Unavailable
from stackd.host import mounts, rootfs

_COPY_WITHIN = 300.0


@dataclass(frozen=True, slots=True)
class Request:
    """Whose mounts: the task's folder on disk, its merged root, its bundle, and the cluster-wide
    names of its volumes."""

    mounts: tuple[Mount, ...]
    names: Mapping[str, str]
    home: Path
    merged: Path
    bundle: Path


class Volumes:
    """The named volumes below one node's data folder."""

    def __init__(self, layout: NodeLayout) -> None:
        self._layout = layout
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def sources(self, request: Request) -> dict[str, str]:
        """Mount target -> host path, making volumes that are not there yet. Raises Rejected."""
        found: dict[str, str] = {}
        for number, mount in enumerate(request.mounts):
            if mount.kind is MountKind.VOLUME:
                folder = await self._volume(mount, request, number)
                found[mount.target] = (
                    _subpath(folder, mount, request.bundle / "sub" / str(number))
                    if mount.subpath
                    else str(folder)
                )
            elif mount.kind is MountKind.BIND:
                found[mount.target] = self._host_path(mount.source)
        return found

    def names(self) -> list[str]:
        """The volumes that are here."""
        return sorted(entry.name for entry in self._layout.volumes.iterdir() if entry.is_dir())

    async def remove(self, name: str) -> None:
        """Remove a volume with its content; nothing happens when it is not here. Raises
        Unavailable when something is left."""
        folder = self._layout.volumes / _plain(name)
        async with self._locks[name]:
            try:
                await asyncio.to_thread(shutil.rmtree, folder)
            except FileNotFoundError:
                return
            except OSError as error:
                raise Unavailable(
                    f"The volume {name} cannot be removed: {error.strerror}.", "It is tried again."
                ) from error

    async def _volume(self, mount: Mount, request: Request, number: int) -> Path:
        name = request.names.get(mount.source, "")
        if mount.source and not name:
            raise Rejected(f"The volume {mount.source!r} was not assigned.", "Apply it again.")
        if not mount.source:  # anonymous: lives and dies with the task
            return await self._fill(request.home / "anonymous" / str(number), mount, request)
        async with self._locks[name]:
            return await self._fill(self._layout.volumes / _plain(name), mount, request)

    async def _fill(self, home: Path, mount: Mount, request: Request) -> Path:
        data, fresh = home / "data", home / "new"
        if data.exists():
            return data
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        fresh.chmod(0o755)
        if not mount.nocopy:
            await _copy_up(request.merged, wanted_mounts.normal(mount.target), fresh)
        fresh.rename(data)
        return data

    def _host_path(self, source: str) -> str:
        real = os.path.realpath(source)
        own = (self._layout.cluster.data, self._layout.cluster.run)
        if any(real == str(top) or real.startswith(f"{top}/") for top in own):
            raise Rejected(
                f"The host path {source} belongs to stackd itself.", "Mount another folder."
            )
        if not os.path.lexists(real):
            raise Rejected(
                f"The host path {source} does not exist on this node.",
                "Create it, or place the service on a node that has it.",
            )
        return real


async def _copy_up(merged: Path, target: str, fresh: Path) -> None:
    """What the image has at the mount's target becomes the first content of the volume."""
    with rootfs.opened(merged) as root:
        try:
            handle = root.open(target, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return
    try:
        found = os.fstat(handle)
        source = f"/proc/self/fd/{handle}/."
        done = await proc.run(
            proc.Command(
                ("cp", "-a", "--reflink=auto", "--", source, str(fresh)),
                timeout=_COPY_WITHIN,
                pass_fds=(handle,),
            )
        )
        if done.code != 0:
            raise Rejected(
                f"The image's content at {target} cannot be copied to its volume: {done.error}.",
                "Look at the free space of the node.",
            )
        os.chown(fresh, found.st_uid, found.st_gid)
        os.chmod(fresh, found.st_mode & 0o7777)
    finally:
        os.close(handle)


def _subpath(folder: Path, mount: Mount, target: Path) -> str:
    """Bind the part of a volume that is wanted to a place of our own, so that nobody who writes
    the volume can exchange it for a symlink afterwards."""
    try:
        with rootfs.beneath(folder, mount.subpath) as handle:
            source = f"/proc/self/fd/{handle}"
            target.parent.mkdir(exist_ok=True)
            if os.path.isdir(source):
                target.mkdir()
            else:
                target.touch()
            mounts.bind(source, str(target))
    except OSError as error:
        raise Rejected(
            f"The subpath {mount.subpath!r} of volume {mount.source!r} cannot be used: "
            f"{error.strerror}.",
            "Create it in the volume; symlinks are not followed.",
        ) from error
    return str(target)


def release(bundle: Path) -> None:
    """Undo the binds that `sources` made for a task."""
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted((bundle / "sub").iterdir()):
            mounts.unmount_all(entry)


def _plain(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise Rejected(f"The volume name {name!r} is not allowed.", "Rename the volume.")
    return name
