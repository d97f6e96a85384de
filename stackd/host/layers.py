"""Unpacked layers of this node, each once, by the digest of its plain content.

Used by `host.images`. A layer appears by rename after everything in it is on disk, so what is
there is whole.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import uuid
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from stackd.aio import proc
from stackd.aio.layout import NodeLayout
from stackd.errors import Rejected, Unavailable
from stackd.host import unpack

MOST_ENTRIES = 1_000_000
MOST_BYTES = 20 * 1024**3
MOST_RATIO = 100
_WITHIN = 540.0
_AT_ONCE = 2
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


class Damaged(Exception):
    """The blob is not what its digest says: fetch it again."""


class LayerStore:
    """The layers below one node's data folder."""

    def __init__(self, layout: NodeLayout, size: int = MOST_BYTES) -> None:
        """`size` bounds the bytes of one layer. Removes what an interrupted unpacking left: there
        is one store per node."""
        self._root = layout.layers
        self._tmp = layout.data / "tmp"
        self._size = size
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        shutil.rmtree(self._tmp, ignore_errors=True)

    def path(self, diff_id: str) -> Path:
        """Where the layer is, or would be."""
        return self._root / diff_id.removeprefix("sha256:")

    def has(self, diff_id: str) -> bool:
        return self.path(diff_id).is_dir()

    async def ensure(self, blob: Path, digest: str, diff_id: str) -> Path:
        """Unpack the blob unless the layer is there; returns its folder. The compression is read
        from the blob itself. Raises Rejected for an unsound layer, Damaged, Unavailable."""
        async with self._locks[diff_id]:
            if not self.has(diff_id):
                async with self._slots:
                    await self._unpack(blob, digest, diff_id)
        return self.path(diff_id)

    def prune(self, keep: Collection[str]) -> list[str]:
        """Remove the layers whose diffID is not in `keep`; returns them. Blocks."""
        wanted = {item.removeprefix("sha256:") for item in keep}
        gone = sorted(name for name in os.listdir(self._root) if name not in wanted)
        for name in gone:
            fresh = self._tmp / f"{name}-{uuid.uuid4().hex[:8]}"
            self._tmp.mkdir(mode=0o700, exist_ok=True)
            (self._root / name).rename(fresh)
            shutil.rmtree(fresh)
        return gone

    async def _unpack(self, blob: Path, digest: str, diff_id: str) -> None:
        target = self._tmp / uuid.uuid4().hex
        self._tmp.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._root.mkdir(parents=True, mode=0o700, exist_ok=True)
        target.mkdir(mode=0o755)
        job = unpack.Job(str(target), digest, diff_id, MOST_ENTRIES, self._size, MOST_RATIO)
        try:
            done = await self._child(blob, job)
            if done.code == unpack.MISMATCH:
                raise Damaged(done.error)
            if done.code == unpack.UNSOUND:
                raise Rejected(
                    f"A layer of the image cannot be unpacked: {done.error}.",
                    "Build the image again.",
                )
            if done.code != unpack.DONE:
                raise Unavailable(
                    f"The unpacker failed: {done.error}.", "Look at the disk of the node."
                )
            target.rename(self.path(diff_id))
            _sync_folder(self._root)
        finally:
            if target.exists():
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, target, True))

    async def _child(self, blob: Path, job: unpack.Job) -> proc.Completed:
        try:
            handle = os.open(blob, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise Damaged(f"the blob {blob.name} is not there") from error
        with contextlib.closing(os.fdopen(handle, "rb")):
            argument = json.dumps(dataclasses.asdict(job))
            return await proc.run(
                proc.Command(
                    (sys.executable, "-P", "-m", "stackd.host.unpack", argument),
                    stdin=handle,
                    env=_ENVIRONMENT,
                    timeout=_WITHIN,
                    max_output=64 * 1024,
                )
            )


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
