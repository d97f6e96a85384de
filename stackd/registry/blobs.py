"""The blob store: `sha256/<hex>`, each file named by what is in it.

A blob appears under its name only whole, verified and on disk. Used for the cluster's store by
managers; an agent may keep its own in the same way.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from stackd.aio.files import sync_directory
from stackd.errors import Refused, Unavailable
from stackd.registry.reference import check_digest

CHUNK = 1024 * 1024


class BlobStore:
    """Blobs under `root`/sha256; `root`/tmp holds what is not whole yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "sha256"
        self.tmp = root / "tmp"

    def prepare(self) -> None:
        """Make the folders and remove what a killed process left half done."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.tmp.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self.tmp.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()

    def path(self, digest: str) -> Path:
        """Where a blob is or would be. Raises Refused for what is not a sha256 digest."""
        return self.folder / check_digest(digest)

    def has(self, digest: str, size: int | None = None) -> bool:
        """Whether it is here, with that size if one is given."""
        try:
            found = self.path(digest).stat().st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def read(self, digest: str, limit: int) -> bytes:
        """A small blob, verified. Raises Refused: absent, above `limit` bytes, or damaged (it is
        removed then)."""
        try:
            with open(self.path(digest), "rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError as error:
            raise Refused(
                f"The blob {digest} is not here.", "Load or pull its image again."
            ) from error
        if len(content) > limit:
            raise Refused(f"The blob {digest} has more than {limit} bytes.")
        if hashlib.sha256(content).hexdigest() != check_digest(digest):
            self.discard(digest)
            raise Refused(
                f"The blob {digest} was damaged and has been removed.",
                "Load or pull its image again.",
            )
        return content

    async def put(self, digest: str, chunks: AsyncIterable[bytes], limit: int) -> None:
        """Write a stream of at most `limit` bytes; it appears only if it has this digest.

        Raises Refused: another digest or too long; Unavailable: the disk is full or fails.
        """
        if self.has(digest):
            return
        with self._writer(digest, limit) as writer:
            async for chunk in chunks:
                writer.write(chunk)
            await asyncio.to_thread(writer.finish)

    def share(self, digest: str, other: "BlobStore") -> bool:
        """Give a blob of another store on the same file system a name here too: no file of a
        store is ever changed, and removing it here leaves it there. False when that cannot be.
        Its content is not read: whoever uses it compares digests."""
        try:
            os.link(other.path(digest), self.path(digest))
        except FileExistsError:
            return True
        except OSError:
            return False
        sync_directory(self.folder)
        return True

    def take(self, digest: str, chunks: Iterable[bytes], limit: int) -> None:
        """As `put`, for a stream that blocks: call it in a thread, or for what is in memory."""
        if self.has(digest):
            return
        with self._writer(digest, limit) as writer:
            for chunk in chunks:
                writer.write(chunk)
            writer.finish()

    @contextlib.contextmanager
    def _writer(self, digest: str, limit: int) -> Iterator["_Writer"]:
        target = self.path(digest)
        temporary = self.tmp / f"blob-{secrets.token_hex(8)}"
        try:
            with open(temporary, "xb") as file:
                yield _Writer(file, temporary, target, limit)
        except OSError as error:
            raise Unavailable(f"A blob cannot be written: {error.strerror}.") from error
        finally:
            temporary.unlink(missing_ok=True)

    def verify(self, digest: str) -> bool:
        """Read a blob whole; a damaged one is removed. Blocks: call it in a thread."""
        try:
            with open(self.path(digest), "rb") as file:
                sound = hashlib.file_digest(file, "sha256").hexdigest() == check_digest(digest)
        except FileNotFoundError:
            return False
        if not sound:
            self.discard(digest)
        return sound

    def sync(self, digest: str) -> None:
        """Make a blob that another program wrote durable. Blocks: call it in a thread."""
        with open(self.path(digest), "rb") as file:
            os.fsync(file.fileno())

    def sync_folder(self) -> None:
        """Make the names durable. Blocks: call it in a thread."""
        sync_directory(self.folder)

    def discard(self, digest: str) -> None:
        """Remove a blob if it is here."""
        self.path(digest).unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[str, int]]:
        """Every blob: digest and size in bytes."""
        with os.scandir(self.folder) as entries:
            found = list(entries)
        for entry in found:
            with contextlib.suppress(Refused, FileNotFoundError):
                check_digest(f"sha256:{entry.name}")
                yield f"sha256:{entry.name}", entry.stat().st_size

    def keep_only(self, wanted: frozenset[str]) -> int:
        """Remove every other blob; returns the bytes freed."""
        freed = 0
        for digest, size in list(self.all()):
            if digest not in wanted:
                self.discard(digest)
                freed += size
        return freed


@dataclass(slots=True)
class _Writer:
    """One blob on its way in."""

    file: IO[bytes]
    temporary: Path
    target: Path
    limit: int
    total: int = 0
    hasher: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def write(self, chunk: bytes) -> None:
        self.total += len(chunk)
        if self.total > self.limit:
            raise Refused(f"The blob {self.target.name} is longer than was said.")
        self.hasher.update(chunk)
        self.file.write(chunk)

    def finish(self) -> None:
        """Check, make durable, give it its name."""
        if self.hasher.hexdigest() != self.target.name:
            raise Refused(
                f"The content of the blob {self.target.name} has another digest.",
                "The archive or registry is damaged; get the image again.",
            )
        self.file.flush()
        os.fsync(self.file.fileno())
        os.rename(self.temporary, self.target)
        sync_directory(self.target.parent)
